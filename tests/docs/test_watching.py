"""What an operator watches with: a real Prometheus over a real server agrees with the alerts, the dashboard and the page about them."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client.parser import text_string_to_metric_families

from registry.cli.main import airlock

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "watch.md").read_text(encoding="utf-8")
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
SAMPLE_LISTENER = "127.0.0.1:5010"
NODE, REPOSITORY = "gpu-secret-01", "library/gemma3"

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="Debian's prometheus is not installed")


def promtool(*arguments, **options):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# The rules by themselves


@needs_promtool
def test_the_rules_are_in_order():
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", DEPLOY / "alerts.yaml").stdout


@needs_promtool
@pytest.mark.parametrize("name", ["alerts.test.yaml", "alerts.days.test.yaml"])
def test_each_alert_fires_when_it_should_and_not_when_it_comes_close(name):
    promtool("test", "rules", DEPLOY / name)


def test_no_alert_is_without_a_test():
    fired = {}
    for name in ("alerts.test.yaml", "alerts.days.test.yaml"):
        for test in yaml.safe_load((DEPLOY / name).read_text())["tests"]:
            for each in test["promql_expr_test"]:
                for sample in each["exp_samples"]:
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                    if labels["alertstate"] == "firing":
                        fired[labels["alertname"]] = labels["severity"]
    assert fired == {rule["alert"]: rule["labels"]["severity"] for rule in RULES}


@needs_promtool
def test_the_configuration_finds_its_rules(tmp_path):
    for name in ("prometheus.yaml", "alerts.yaml"):
        shutil.copyfile(DEPLOY / name, tmp_path / name)
    assert "1 rule files found" in promtool("check", "config", tmp_path / "prometheus.yaml").stdout
    [job] = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["job_name"] == "airlock"
    assert job["static_configs"][0]["targets"] == [SAMPLE_LISTENER]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_what_it_means_and_the_next_command(rule):
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in {"page", "ticket", "info"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(re.sub(r"\{\{.*?\}\}", "X", rule["annotations"]["summary"])) < 80
    commands = re.findall(r"`([^`]+)`", rule["annotations"]["description"])
    assert any(" " in command for command in commands), "no command"
    for command in commands:
        if command.startswith("airlock "):
            exists(shlex.split(command)[1:])


def exists(words):
    """Follow the words of a command to the command that they name; fail where there is no such command or option."""
    command, words = airlock, list(words)
    while isinstance(command, click.Group):
        if words[0].startswith("--"):
            del words[:2]  # a global option and its value
        else:
            command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, words
    return command.name


# The page


def rows(heading):
    """Return the cells of each row of the next table."""
    table = re.search(r"(?:^\|.*\n)+", PAGE.split(heading, 1)[1], re.MULTILINE)[0]
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert len(found) > 5
    return found


def words_of(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_names_alerts_that_exist():
    named = {name for cell, *_ in rows("Adapt these numbers to your site:") for name in words_of(cell)}
    assert named <= {rule["alert"] for rule in RULES}


def test_what_the_timer_runs_exists():
    commands = re.findall(r"(?:ExecStart=|\* )/opt/airlock/bin/airlock (.*)", PAGE)
    assert len(commands) == 2
    for command in commands:
        assert exists(shlex.split(command.removesuffix(" >/dev/null"))) == "checkpoint"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_timer(tmp_path):
    """Verified as units whose program exists: /opt/airlock isn't on this machine."""
    text = re.sub(r"^    ", "", PAGE, flags=re.MULTILINE).replace("/opt/airlock/bin/airlock", "/bin/true")
    units = re.findall(r"^# /etc/systemd/system/(airlock-checkpoint\.\w+)\n(.*?)(?=\n# /|\n\n[A-Z])", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in units] == ["airlock-checkpoint.service", "airlock-checkpoint.timer"]
    for name, unit in units:
        (tmp_path / name).write_text(unit + "\n")
    paths = [str(tmp_path / name) for name, _ in units]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "airlock" in line] == []


# The dashboard


def layout(value, indent=0, before=0):
    """Return ``value`` as the dashboard's file writes it: two spaces, and on one line what fits into 150 columns."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or indent + before + len(line) < 150:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [f"{json.dumps(name)}: {layout(each, indent + 2, len(name) + 4)}" for name, each in value.items()]
    else:
        lines = [layout(each, indent + 2) for each in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(lines) + f"\n{' ' * indent}{end}"


def test_the_dashboard_is_laid_out_for_people_who_compare_two_versions():
    assert (DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8") == layout(DASHBOARD) + "\n"


def test_the_dashboard_can_be_imported_anywhere():
    assert DASHBOARD["schemaVersion"] == 38
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert all("$instance" in expression for expression in EXPRESSIONS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_each_panel_says_in_a_sentence_what_it_shows():
    for panel in PANELS:
        assert re.fullmatch(r"[A-Z0-9][^.]+\.", panel["description"]), panel["title"]


def test_the_first_row_answers_whether_everything_is_all_right():
    first, *rest = DASHBOARD["panels"]
    assert (first["type"], first["title"]) == ("row", "Is everything all right?")
    height = next(panel["gridPos"]["y"] for panel in rest if panel["type"] == "row")
    answers = [panel for panel in rest if panel["gridPos"]["y"] < height]
    assert len(answers) == 8
    for panel in answers:
        assert panel["type"] == "stat"
        colours = {step["color"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]}
        assert {"green", "red"} <= colours, panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["color"] != "green", "no answer is not all right"


# A real server


def free_port():
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def get(address, path, *, tls=None, headers=()):
    host, _, port = address.partition(":")
    connection = (
        http.client.HTTPSConnection(host, int(port), context=tls, timeout=30) if tls else http.client.HTTPConnection(host, int(port), timeout=30)
    )
    with contextlib.closing(connection):
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()


class NodeKey:
    """The key of a stock Ollama, and how it asks for a token (ollama, ``server/auth.go``)."""

    def __init__(self):
        self.private = Ed25519PrivateKey.generate()
        self.wire = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + self.private.public_key().public_bytes_raw()).decode()

    def token(self, address, tls):
        query = {"nonce": os.urandom(16).hex(), "scope": f"repository:{REPOSITORY}:pull", "service": "airlock", "ts": str(int(time.time()))}
        target = "/token?" + urllib.parse.urlencode(query)
        nothing = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
        signature = base64.b64encode(self.private.sign(f"GET,https://{address}{target},{nothing}".encode())).decode()
        return get(address, target, tls=tls, headers={"Authorization": f"{self.wire}:{signature}"})


@dataclass(frozen=True)
class Watched:
    """A site's server that a node pulled from; ``secrets`` are words that must not be told to whoever watches."""

    address: str
    metrics: str
    tls: ssl.SSLContext
    secrets: frozenset

    def scrape(self):
        status, text = get(self.metrics, "/metrics")
        assert status == 200
        return text.decode()

    def samples(self):
        return [sample for family in text_string_to_metric_families(self.scrape()) for sample in family.samples]

    def knock(self):
        status, sentence = NodeKey().token(self.address, self.tls)
        assert status == 403
        assert b"is not enrolled" in sentence


@pytest.fixture(scope="module")
def watched(after_the_journey, tmp_path_factory):
    """The site of README.md's journey, with TLS, an enrolled node, two processes; a node has pulled, others were refused."""
    world = after_the_journey.copy(tmp_path_factory.mktemp("watched") / "world")
    inside, key, metrics = world.root / "inside", NodeKey(), f"127.0.0.1:{free_port()}"

    def run(command):
        options = {"cwd": inside, "env": world.environment("inside", command), "stdin": subprocess.DEVNULL}
        subprocess.run(shlex.split(command), check=True, capture_output=True, **options)

    run("airlock site tls-init --name 127.0.0.1")
    run(f"airlock node enroll {NODE} --key 'ssh-ed25519 {key.wire}'")
    tls = inside / ".airlock" / "tls"
    serve = f"airlock serve --listen 127.0.0.1:0 --metrics-listen {metrics} --tls-cert {tls}/server.pem --tls-key {tls}/server.key --workers 2"
    url = world.start(serve, {"cwd": inside, "env": world.environment("inside", serve), "stdin": subprocess.DEVNULL})
    try:
        address, trust = url.split("//")[1].partition(",")[0].strip(), ssl.create_default_context(cafile=tls / "ca.pem")
        manifests = f"/v2/{REPOSITORY}/manifests/"
        assert get(address, f"{manifests}270m", tls=trust)[0] == 401
        status, token = key.token(address, trust)
        assert status == 200
        bearer = {"Authorization": f"Bearer {json.loads(token)['token']}"}
        manifest = get(address, f"{manifests}270m", tls=trust, headers=bearer)[1]
        digests = [each["digest"] for each in (*json.loads(manifest)["layers"], json.loads(manifest)["config"])]
        for digest in digests:
            assert f"sha256:{hashlib.sha256(get(address, f'/v2/{REPOSITORY}/blobs/{digest}', tls=trust, headers=bearer)[1]).hexdigest()}" == digest
        assert get(address, "/capability/made-up", tls=trust)[0] == 403
        assert get(address, "/v2/", tls=trust, headers={"Host": "other.internal"})[0] == 421
        names = {NODE, key.wire, "127.0.0.1", "other.internal", *REPOSITORY.split("/"), "270m"}
        site = Watched(address, metrics, trust, frozenset(names | {digest.removeprefix("sha256:") for digest in digests}))
        site.knock()
        yield site
    finally:
        world.stop()


def typed(text):
    """Return the kind of each metric by its name, as the scrape says."""
    found = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert len(found) > 25
    return found


@needs_promtool
def test_prometheus_has_nothing_to_say_against_names_and_help(watched):
    done = promtool("check", "metrics", "--extended", input=watched.scrape())
    assert done.stderr == ""


def test_every_metric_that_is_named_exists(watched):
    kinds = typed(watched.scrape())
    known = {*kinds, *(f"{name}_{part}" for name, kind in kinds.items() if kind == "histogram" for part in ("bucket", "sum", "count"))}
    for page in [PAGE, *(path.read_text(encoding="utf-8") for path in sorted(DEPLOY.iterdir()))]:
        assert set(re.findall(r"\b(?:airlock|process)_[a-z_]*[a-z]\b", page)) <= known
    assert {name for expression in EXPRESSIONS for name in re.findall(r"\bairlock_\w+", expression)}


def test_every_label_that_is_asked_for_exists_with_that_value(watched):
    """A value that is misspelt would be an alert that never fires."""
    values = {}
    for sample in watched.samples():
        for label, value in sample.labels.items():
            values.setdefault(sample.name, {}).setdefault(label, set()).add(value)
    asked = 0
    for expression in [*EXPRESSIONS, *(rule["expr"] for rule in RULES)]:
        for name, selector in re.findall(r"\b((?:airlock|process)_\w+)\{([^}]*)\}", expression):
            for label, text in re.findall(r'(\w+)(?:=|!=|=~|!~)"([^"]*)"', selector):
                if label not in ("job", "instance"):
                    assert set(text.split("|")) <= values[name][label], f"{name}: {label} {text}"
                    asked += 1
    assert asked > 20


def test_the_page_tells_every_metric_with_its_labels(watched):
    scraped = {name: set() for name in typed(watched.scrape())}
    for sample in watched.samples():
        name = sample.name if sample.name in scraped else re.sub("_(bucket|sum|count)$", "", sample.name)
        scraped[name] |= sample.labels.keys() - {"le"}
    table = rows("## Every metric")
    assert {words_of(metric)[0]: set(words_of(labels)) for metric, labels, _ in table} == scraped
    assert len(table) == len(scraped)


def test_the_page_tells_every_value_of_a_label(watched):
    told = {words_of(metric)[0]: what for metric, _, what in rows("## Every metric")}
    told["airlock_refusals_total"] = " ".join(cell for cell, *_ in rows("Reasons of `airlock_refusals_total`:"))
    for sample in watched.samples():
        for label, value in sample.labels.items():
            if label in ("route", "reason", "outcome", "kind", "verb", "state") and sample.name in told:
                assert value in words_of(told[sample.name]), f"{sample.name}: {label} {value}"


def test_whoever_watches_learns_no_name_no_digest_and_no_address(watched):
    text = watched.scrape()
    assert [secret for secret in watched.secrets if secret in text] == []
    assert "sha256" not in text
    labels = {label for sample in watched.samples() for label in sample.labels}
    assert labels == {"route", "code", "le", "outcome", "kind", "reason", "verb", "state", "version", "worker"}


def test_what_the_node_did_was_counted(watched):
    counted = {(sample.name, *sorted(sample.labels.values(), reverse=True)): sample.value for sample in watched.samples()}
    assert counted["airlock_http_requests_total", "manifest", "200"] == 1
    assert counted["airlock_http_requests_total", "manifest", "401"] == 1
    for reason in ("challenged", "bad_link", "other_host"):
        assert counted["airlock_refusals_total", reason] == 1
    assert counted["airlock_refusals_total", "unknown_key"] >= 1
    assert counted["airlock_certificate_expiry_timestamp_seconds",] > time.time() + 800 * 86400
    assert 0 < counted["airlock_last_set_accepted_timestamp_seconds",] <= time.time()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_without_prometheus_curl_says_the_same(watched):
    section = PAGE.split("## Without Prometheus")[1].split("\n## ")[0].replace(SAMPLE_LISTENER, watched.metrics)
    right, dates = re.findall(r"^```sh\n(curl .*)\n```$", section, re.MULTILINE)
    [cron] = re.findall(r"^    \*/5 \* \* \* \* (curl .*)$", section, re.MULTILINE)

    def run(command):
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert [line.split()[1] for line in run(right).stdout.splitlines()] == ["0.0"] * 4
    names = [line.split()[0] for line in run(dates).stdout.splitlines()]
    assert names == ["airlock_last_set_accepted_timestamp_seconds", "airlock_certificate_expiry_timestamp_seconds"]
    assert len(re.findall(r" 20\d\d-\d\d-\d\d \d\d:\d\d$", run(dates).stdout, re.MULTILINE)) == 2
    assert run(cron).stdout + run(cron).stderr == ""
    gone = run(cron.replace(watched.metrics, f"127.0.0.1:{free_port()}"))
    assert "curl" in gone.stderr


# A real Prometheus


@dataclass(frozen=True)
class Prometheus:
    address: str

    def ask(self, path, **query):
        status, text = get(self.address, f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        assert status == 200, text
        document = json.loads(text)
        assert document["status"] == "success"
        return document["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]


def eventually(probe, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)
    return found


@pytest.fixture
def prometheus(watched, tmp_path):
    """A Prometheus with the configuration of the page, which looks each second."""
    shutil.copyfile(DEPLOY / "alerts.yaml", tmp_path / "alerts.yaml")
    text = (DEPLOY / "prometheus.yaml").read_text().replace(SAMPLE_LISTENER, watched.metrics).replace("interval: 15s", "interval: 1s")
    (tmp_path / "prometheus.yaml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={tmp_path}/prometheus.yaml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={address}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log)

    def ready():
        assert process.poll() is None, (tmp_path / "log").read_text()
        with contextlib.suppress(OSError):
            return get(address, "/-/ready")[0] == 200
        return False

    try:
        eventually(ready)
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="Debian's prometheus is not installed")
def test_prometheus_watches_the_server(watched, prometheus):
    eventually(lambda: prometheus.query('count_over_time(up{job="airlock"}[1m]) > 3'))
    [target] = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["labels"]) == ("up", {"instance": "registry.site.internal", "job": "airlock"})

    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert sorted(rule["name"] for rule in rules) == sorted(rule["alert"] for rule in RULES)
    eventually(lambda: all(rule["health"] == "ok" for group in prometheus.ask("rules")["groups"] for rule in group["rules"]))

    for expression in EXPRESSIONS:
        found = prometheus.query(expression.replace("$instance", ".+").replace("$__rate_interval", "1m"))
        assert found or expression.endswith("> 0"), f"nothing to show: {expression}"
    [instance] = DASHBOARD["templating"]["list"][1:]
    assert instance["definition"] == "label_values(airlock_build_info, instance)"
    assert [each["metric"]["instance"] for each in prometheus.query("airlock_build_info")] == ["registry.site.internal"]

    def firing():
        return [alert for alert in prometheus.ask("alerts")["alerts"] if alert["state"] == "firing"]

    assert firing() == []
    watched.knock()
    [alert] = eventually(firing)
    assert (alert["labels"]["alertname"], alert["labels"]["severity"]) == ("AirlockKnock", "info")
    assert alert["annotations"]["summary"] == "registry.site.internal: a key that nobody enrolled has knocked"
