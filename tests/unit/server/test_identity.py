"""Who is asking: nodes by Ollama's own key, bearers by token; each refusal says why, and bites at once."""

import base64
import json
import time

import pytest

from registry.content.callers import AccessRule, key_fingerprint
from registry.content.canonical import dump
from registry.content.digest import digest_of
from registry.server.watch import Watch

MODEL = "/v2/library/gemma3"


@pytest.fixture
def site(home):
    """Release 1 of library/gemma3:270m is promoted, 2 approved; clinical/triage is promoted."""
    home.promoted = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.approved = home.add("library/gemma3:270m", 2, "approved", b"newer weights")
    home.add("clinical/triage:latest", 1, "promoted", b"triage")
    home.publish()
    return home


@pytest.fixture
def server(site, start):
    with start(site, anonymous_pull=False) as server:
        yield server


def reasons(home):
    return [entry["reason"] for entry in home.journal() if entry["verb"] == "deny"]


def test_an_enrolled_node_pulls_what_is_promoted(site, server, eventually):
    key = site.enroll("gpu-01")
    site.publish()
    eventually(lambda: server.ask_token(key).status == 200)
    headers = server.token(key)
    digest = site.promoted.layers[0].digest
    for reference in ("270m", "270m-r1", "latest"):
        answer = server.ask(f"{MODEL}/manifests/{reference}", headers=headers)
        assert answer.status == (404 if reference == "latest" else 200)
    location = server.ask(f"{MODEL}/blobs/{digest}", headers=headers).headers["Location"]
    assert server.ask(location, headers={"Range": "bytes=2-4"}).body == b"igh"
    assert server.ask("/v2/", headers=headers).status == 200
    pulled = [entry for entry in site.journal() if entry["verb"] in ("manifest", "blob")]
    assert {entry["node"] for entry in pulled} == {"gpu-01"}
    assert len(pulled) == 3


def test_what_is_only_approved_needs_the_group_test(site, start):
    node, tester = site.enroll("gpu-01"), site.enroll("gpu-02", "test")
    site.publish()
    blob = f"{MODEL}/blobs/{site.approved.layers[0].digest}"
    with start(site, anonymous_pull=False) as server:
        for path in (f"{MODEL}/manifests/270m-r2", blob):
            refused = server.ask(path, headers=server.token(node))
            assert (refused.status, refused.code) == (403, "DENIED")
            assert b"gpu-01 may pull this release once it is promoted" in refused.body
            assert server.ask(path, headers=server.token(tester)).status == 200


def test_rules_bind_groups_to_repositories(site, start):
    clinic, other = site.enroll("gpu-01", "clinic"), site.enroll("gpu-02")
    site.rules = (AccessRule("clinic", "clinical/*"), AccessRule("everyone", "library/*"))
    site.publish()
    with start(site, anonymous_pull=False) as server:
        assert server.ask("/v2/clinical/triage/manifests/latest", headers=server.token(clinic, "clinical/triage")).status == 200
        assert server.ask(f"{MODEL}/manifests/270m", headers=server.token(other)).status == 200
        refused = server.ask_token(other, "clinical/triage")
        assert (refused.status, refused.body) == (403, b"gpu-02 may not pull from clinical/triage; ask the registry's operator")


def test_a_token_is_bound_to_its_node_and_its_repository(site, start):
    site.enroll("gpu-02")
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        headers = server.token(key)
        assert server.ask("/v2/clinical/triage/manifests/latest", headers=headers).status == 401
        text = headers["Authorization"]
        payload, _, mac = text.removeprefix("Bearer ").partition(".")
        other = base64.urlsafe_b64encode(base64.urlsafe_b64decode(payload + "==").replace(b"gpu-01", b"gpu-02")).decode().rstrip("=")
        for bent in (f"Bearer {other}.{mac}", text[:-1] + ("0" if text[-1] != "0" else "1"), "Bearer ", "Bearer x.y", "Basic " + text):
            assert server.ask(f"{MODEL}/manifests/270m", headers={"Authorization": bent}).status == 401
        server_without_scope = server.ask_token(key, scope=None)
        bare = {"Authorization": f"Bearer {json.loads(server_without_scope.body)['token']}"}
        assert server.ask("/v2/", headers=bare).status == 200
        assert server.ask(f"{MODEL}/manifests/270m", headers=bare).status == 401


def test_an_unknown_key_knocks_and_reads_how_it_gets_in(site, server, make_key, eventually):
    key = make_key()
    refused = server.ask_token(key)
    assert refused.status == 403
    assert refused.body.decode().endswith(f"airlock node enroll NAME --pending {key_fingerprint(key.public)}")
    [knock] = [entry for entry in site.journal() if entry["verb"] == "knock"]
    assert (knock["key"], knock["repository"], knock["peer"]) == (key.public, "library/gemma3", "127.0.0.1")
    site.enroll("gpu-01", key=key)
    site.publish()
    eventually(lambda: server.ask_token(key).status == 200)


def test_revoked_in_the_middle_of_a_pull(site, start, eventually):
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        headers = server.token(key)
        location = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=headers).headers["Location"]
        assert server.ask(location).status == 200
        del site.nodes["gpu-01"]
        site.publish()
        eventually(lambda: server.ask(location).status == 403)
        assert server.ask(f"{MODEL}/manifests/270m", headers=headers).status == 401
        assert server.ask_token(key).status == 403
        # a new key under the old name inherits nothing
        site.enroll("gpu-01")
        site.publish()
        eventually(lambda: server.health()["sequence"] == site.sequence)
        assert server.ask(location).status == 403
        assert server.ask(f"{MODEL}/manifests/270m", headers=headers).status == 401


def test_taken_out_of_the_group_test_or_withdrawn_in_the_middle_of_a_pull(site, start, eventually):
    key = site.enroll("gpu-01", "test")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        headers = server.token(key)
        approved = server.ask(f"{MODEL}/blobs/{site.approved.layers[0].digest}", headers=headers).headers["Location"]
        promoted = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=headers).headers["Location"]
        site.enroll("gpu-01", key=key)
        site.publish()
        eventually(lambda: server.ask(approved).status == 403)
        del site.releases["library/gemma3:270m", 1]
        site.publish()
        eventually(lambda: server.ask(promoted).status in (403, 404))


def test_a_promotion_does_not_cut_off_who_fetches_what_it_replaces(site, start, eventually):
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        location = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=server.token(key)).headers["Location"]
        site.add("library/gemma3:270m", 1, "approved", b"weights")
        site.newer = site.add("library/gemma3:270m", 2, "promoted", b"newer weights")
        site.publish()
        eventually(lambda: server.health()["sequence"] == site.sequence)
        assert server.ask(location).body == b"weights"
        # and the blobs that it comes to only now, of the manifest that it got before
        config = f"{MODEL}/blobs/{site.promoted.config.digest}"
        assert server.ask(config, headers=server.token(key)).status == 200
        replaced = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=server.token(key))
        assert replaced.body == b"weights"
        assert server.ask(replaced.headers["Location"]).body == b"weights"
        # while a pull that begins now gets what is promoted, and nothing else
        assert server.ask(f"{MODEL}/manifests/270m-r1", headers=server.token(key)).status == 403
        assert b"newer weights" in server.ask(f"{MODEL}/blobs/{site.newer.layers[0].digest}", headers=server.token(key)).body


def test_the_same_view_as_an_older_airlock_wrote_it_gives_way_to_the_newer_form(site):
    """After an update the first command publishes the same number of events, with what the older form didn't say."""
    document = json.loads(site.published().to_bytes()) | {"v": 1}
    del document["accepted"], document["journals"]
    site.view.write_bytes(dump(document))
    watch = Watch(site.view, site.root / "blobs")
    watch.refresh()
    assert (watch.problem, watch.offer.sequence) == ("", 1)
    site.accepted = 1_795_000_000
    site.view.write_bytes(site.published().to_bytes())
    watch.refresh()
    assert (watch.problem, watch.offer.accepted) == ("", 1_795_000_000)
    site.accepted += 1  # not a third time: a number stands for one content
    site.view.write_bytes(site.published().to_bytes())
    watch.refresh()
    assert "with other content" in watch.problem


def test_what_was_replaced_is_open_for_as_long_as_a_link_and_not_when_it_is_withdrawn(site):
    clock = [1000.0]
    watch = Watch(site.view, site.root / "blobs", now=lambda: clock[0])
    blob = site.promoted.layers[0].digest
    site.publish()
    watch.refresh()
    site.add("library/gemma3:270m", 1, "approved", b"weights")
    site.add("library/gemma3:270m", 9, "promoted", b"third weights")
    site.publish()
    watch.refresh()
    assert watch.offer.blob("library/gemma3", blob).state == "promoted"
    clock[0] += watch.grace - 1
    site.publish()  # something else changed
    watch.refresh()
    assert watch.offer.blob("library/gemma3", blob).state == "promoted"
    clock[0] += 1
    watch.read_manifests_again()
    assert watch.offer.blob("library/gemma3", blob).state == "approved"
    clock[0] = 2000.0
    site.add("library/gemma3:270m", 1, "promoted", b"weights")
    site.add("library/gemma3:270m", 9, "approved", b"third weights")
    site.publish()
    watch.refresh()
    del site.releases["library/gemma3:270m", 9]
    site.publish()
    watch.refresh()
    assert watch.offer.blob("library/gemma3", digest_of(b"third weights")) is None


@pytest.fixture(scope="module")
def enrolled(make_home, start):
    site = make_home()
    site.add("library/gemma3:270m", 1, "promoted", b"weights")
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False, names=["127.0.0.1", "registry.site.internal"]) as server:
        yield site, server, key


def test_a_signature_is_good_once(enrolled):
    site, server, key = enrolled
    answers = [server.ask_token(key, nonce="n" * 22, skew=0), server.ask_token(key, nonce="n" * 22, skew=1)]
    assert [answer.status for answer in answers] == [200, 403]
    assert answers[1].body == b"this signed request was used before"
    assert "this signed request was used before" in reasons(site)


@pytest.mark.parametrize(("skew", "sentence"), [(-400, b"seconds behind the registry's"), (400, b"seconds ahead of the registry's")])
def test_a_clock_that_is_wrong_is_told_by_how_much(enrolled, skew, sentence):
    _, server, key = enrolled
    refused = server.ask_token(key, skew=skew)
    assert refused.status == 403
    assert sentence in refused.body
    assert b"at most 300 are allowed" in refused.body
    assert server.ask_token(key, skew=skew // 2).status == 200


def test_a_signature_over_another_url_is_none(enrolled, make_key):
    """A rogue registry gets a node to sign a URL of its own and relays it: the host is part of what is signed."""
    _, server, key = enrolled
    for origin in ("http://evil.internal:5000", server.url.replace("http", "https"), server.url + "/v2", "http://127.0.0.1:1"):
        refused = server.ask_token(key, sign=origin)
        assert (refused.status, refused.body) == (403, b"the signature does not belong to this key and this address")
    other = make_key()
    target = "/token?nonce=12345678&service=airlock&ts=1"
    stolen = key.wire + other.sign(server.url + target)[68:]
    assert server.ask(target, headers={"Authorization": stolen}).status == 403


@pytest.mark.parametrize(
    "host", ["evil.internal:5000", "registry.site.internal.evil", "127.0.0.2", "localhost", "", 'x",y="', "registry.site.internal@evil"]
)
def test_a_foreign_host_gets_neither_challenge_nor_token(enrolled, host):
    _site, server, key = enrolled
    for answer in (
        server.ask(f"{MODEL}/manifests/270m", headers={"Host": host}),
        server.ask_token(key, sign=f"http://{host}", headers={"Host": host}),
    ):
        assert answer.status in (400, 421)
        assert "WWW-Authenticate" not in answer.headers
    assert server.ask("/healthz", headers={"Host": host}).status in (200, 400)


def test_a_configured_host_is_found_in_any_letter_case_and_with_any_port(enrolled):
    _, server, key = enrolled
    for host in ("Registry.Site.INTERNAL", "registry.site.internal:443"):
        answer = server.ask_token(key, sign=f"http://{host}", headers={"Host": host})
        assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    "fields",
    [
        {"nonce": None},
        {"nonce": "short"},
        {"nonce": "x" * 200},
        {"ts": None},
        {"ts": "now"},
        {"ts": "-1"},
        {"service": "other"},
        {"scope": "repository:library/gemma3:push"},
        {"scope": "repository:library/gemma3:pull,push"},
        {"scope": "registry:catalog:*"},
        {"scope": "repository:../x:pull"},
        {"more": "1"},
    ],
)
def test_requests_that_ask_for_anything_else_are_refused_in_a_sentence(enrolled, fields):
    _, server, key = enrolled
    answer = server.ask_token(key, **fields)
    assert answer.status == 403
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert len(answer.body) < 200


def test_a_key_that_is_not_in_its_one_form_is_refused(enrolled):
    _, server, key = enrolled
    target = f"/token?nonce=12345678&service=airlock&ts={int(time.time())}"
    good = key.sign(server.url + target)
    wire, _, signature = good.partition(":")
    for bad in (
        wire,
        f"{wire}:",
        f"{wire}:{signature[:-4]}",
        f"{wire[:-2]}AB:{signature}",
        good + "\tx",
        "Bearer " + good,
        f"{wire}A:{signature}",
    ):
        assert server.ask(target, headers={"Authorization": bad}).status == 403, bad


def test_a_bearer_token_is_good_for_its_repositories_until_it_expires(site, start):
    text = site.issue("scanner", "library/*")
    old = site.issue("old", "library/*", expires=1_700_000_000)
    tester = site.issue("tester", "library/gemma3", groups=("test",))
    site.publish()
    with start(site, anonymous_pull=False) as server:

        def bearer(token):
            return {"Authorization": f"Bearer {token}"}

        assert server.ask(f"{MODEL}/manifests/270m", headers=bearer(text)).status == 200
        assert server.ask(f"{MODEL}/manifests/270m-r2", headers=bearer(text)).status == 403
        assert server.ask(f"{MODEL}/manifests/270m-r2", headers=bearer(tester)).status == 200
        assert server.ask("/v2/clinical/triage/manifests/latest", headers=bearer(text)).status == 403
        for bad in (old, text + "x", text[:-1], site.tokens["scanner"].digest):
            assert server.ask(f"{MODEL}/manifests/270m", headers=bearer(bad)).status == 401
        location = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=bearer(text)).headers["Location"]
        assert server.ask(location).body == b"weights"
        assert {entry["node"] for entry in site.journal() if entry["verb"] == "blob"} == {"token scanner"}
        everything = (site.state / "access.jsonl").read_text() + server.log.read_text() + site.view.read_text()
        assert text not in everything
        assert tester not in everything


def test_docker_clients_trade_a_bearer_token_for_a_short_one(site, start):
    text = site.issue("scanner", "library/*")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        basic = {"Authorization": "Basic " + base64.b64encode(f"scanner:{text}".encode()).decode()}
        answer = server.ask("/token?service=airlock&account=scanner&scope=repository%3Alibrary%2Fgemma3%3Apull", headers=basic)
        short = {"Authorization": f"Bearer {json.loads(answer.body)['access_token']}"}
        assert server.ask(f"{MODEL}/manifests/270m", headers=short).status == 200
        assert server.ask("/token?scope=repository:clinical/triage:pull", headers=basic).status == 403
        assert server.ask("/token?scope=a&scope=b", headers=basic).status == 403
        assert server.ask("/token", headers={"Authorization": "Basic !!!"}).status == 403
        assert server.ask("/token", headers={"Authorization": "Basic \u00e9\u00e9"}).status == 403
        assert server.ask("/token").status == 403


def test_a_revoked_bearer_token_ends_what_it_began(site, start, eventually):
    text = site.issue("scanner", "library/*")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        location = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers={"Authorization": f"Bearer {text}"}).headers["Location"]
        del site.tokens["scanner"]
        site.publish()
        eventually(lambda: server.ask(location).status == 403)
