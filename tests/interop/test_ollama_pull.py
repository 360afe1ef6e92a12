"""Real, unmodified Ollama clients of three generations pull from a real server; what lies on the node is what was signed for."""

import contextlib
import hashlib
import http.client
import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import registry
from registry.content.callers import KnownNode, key_fingerprint, parse_node_key
from registry.content.digest import digest_of
from registry.content.manifest import CONFIG_TYPE, Descriptor, Manifest
from registry.content.view import PublishedRelease, ServedState, View, parse_view
from registry.store.access_journal import read_journal
from registry.store.blobs import LocalBlobStore
from registry.store.files import replace_file

PROGRAM = """
import json, sys
from pathlib import Path
from registry.server.run import ServerConfig, serve
home, options = Path(sys.argv[1]), json.loads(sys.argv[2])
config = ServerConfig(blobs=home / "blobs", view=home / "published" / "view.json", state=home / "server", port=0, **options)
serve(config, ready=lambda url: print(url.removeprefix("http://"), flush=True))
"""
LAYER = "application/vnd.ollama.image."
ROOT = Path(registry.__file__).parents[1]


def gguf(padding):
    """A GGUF file without tensors: enough for Ollama to show, followed by bytes that make it as large as a test needs."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = [("general.architecture", "llama"), ("general.name", "synthetic")]
    numbers = [("general.file_type", 0), ("llama.context_length", 128), ("llama.embedding_length", 8), ("llama.block_count", 1)]
    body = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in pairs)
    body += b"".join(text(key) + struct.pack("<II", 4, value) for key, value in numbers)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs) + len(numbers)) + body + padding


@dataclass(frozen=True)
class Site:
    """A home that serves release 1 of library/synthetic:tiny as promoted and release 2 as approved."""

    root: Path
    promoted: Manifest
    approved: Manifest


def make_site(root, weights):
    store = LocalBlobStore(root / "blobs")

    def layer(kind, content):
        return Descriptor(LAYER + kind, store.add(content), len(content))

    def manifest(licence):
        layers = (layer("model", weights), layer("template", b"{{ .Prompt }}"), layer("license", licence), layer("params", b'{"seed":7}'))
        diffs = [found.digest for found in layers]
        config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "270M", "file_type": "F32"}
        config |= {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
        data = json.dumps(config, separators=(",", ":")).encode()
        made = Manifest(Descriptor(CONFIG_TYPE, store.add(data), len(data)), layers)
        store.add(made.to_bytes())
        return made

    manifests = manifest(b"licence one"), manifest(b"licence two")
    releases = tuple(
        PublishedRelease("ab" * 32, "library/synthetic", "tiny", number, ServedState(state), digest_of(made.to_bytes()), digest_of(b"statement"))
        for number, (state, made) in enumerate(zip(("promoted", "approved"), manifests, strict=True), 1)
    )
    (root / "published").mkdir()
    replace_file(root / "published" / "view.json", View("site", 1, releases).to_bytes())
    return Site(root, *manifests)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"), gguf(os.urandom(3_000_000)))


@contextlib.contextmanager
def serving(site, **options):
    """Run the server; yields its host and port."""
    command = [sys.executable, "-c", PROGRAM, str(site.root), json.dumps({"anonymous_pull": True, **options})]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert address
        yield address
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def assert_arrived(node, name, manifest, site):
    """The files on the node are, byte for byte, those of the site."""
    assert node.manifest(name) == manifest.to_bytes()
    store = LocalBlobStore(site.root / "blobs")
    blobs = manifest.blobs
    assert len(blobs) >= 5
    for blob in blobs:
        content = node.blob(blob.digest).read_bytes()
        assert "sha256:" + hashlib.sha256(content).hexdigest() == blob.digest
        assert content == store.path(blob.digest).read_bytes()
    listed = {model["name"]: model["digest"] for model in node.api("/api/tags")["models"]}
    assert listed[name] == digest_of(manifest.to_bytes()).removeprefix("sha256:")


GENERATIONS = [
    pytest.param("0.9.3", {}, id="0.9.3"),
    pytest.param("0.9.3", {"redirect_host": "localhost"}, id="0.9.3-redirected"),
    pytest.param("0.3.7", {"redirect_host": "localhost"}, id="0.3.7-redirected"),  # this generation accepts nothing else
    pytest.param("0.1.39", {}, id="0.1.39"),
    pytest.param("0.1.39", {"redirect_host": "localhost"}, id="0.1.39-redirected"),
]


@pytest.mark.parametrize(("ollama", "options"), GENERATIONS, indirect=["ollama"])
def test_pull_list_show(ollama, options, site, tmp_path):
    with serving(site, **options) as address, ollama.node(tmp_path / "node") as node:
        name = f"{address}/library/synthetic:tiny"
        node.run("pull", "--insecure", name)
        assert_arrived(node, name, site.promoted, site)
        assert name in node.run("list").stdout
        shown = node.run("show", "--license", name).stdout
        assert "licence one" in shown
        assert node.api("/api/show", {"name": name})["details"]["family"] == "llama"


@pytest.mark.parametrize("ollama", ["0.9.3"], indirect=True)
def test_release_tags_digest_tags_and_letter_case(ollama, site, tmp_path):
    digest = digest_of(site.approved.to_bytes()).replace(":", "-")
    with serving(site) as address, ollama.node(tmp_path / "node") as node:
        for tag in ("tiny-r2", digest):
            name = f"{address}/library/synthetic:{tag}"
            node.run("pull", "--insecure", name)
            assert_arrived(node, name, site.approved, site)
        node.run("pull", "--insecure", f"{address}/Library/Synthetic:TINY")


@pytest.mark.parametrize("ollama", ["0.9.3"], indirect=True)
def test_a_blob_of_several_parts(ollama, tmp_path):
    """Ollama fetches parts of 100 MB, several at once, by the capability URL."""
    (tmp_path / "site").mkdir()
    site = make_site(tmp_path / "site", gguf(bytes(210_000_000)))
    with serving(site) as address, ollama.node(tmp_path / "node") as node:
        name = f"{address}/library/synthetic:tiny"
        node.run("pull", "--insecure", name)
        assert_arrived(node, name, site.promoted, site)
        journal = [json.loads(line) for line in (site.root / "server" / "access.jsonl").read_text().splitlines()]
        assert [entry["verb"] for entry in journal].count("manifest") == 1
        assert sorted(entry["digest"] for entry in journal if entry["verb"] == "blob") == sorted(blob.digest for blob in site.promoted.blobs)


@pytest.mark.parametrize("ollama", ["0.9.3"], indirect=True)
def test_what_the_user_reads_when_it_is_refused(ollama, site, tmp_path):
    with serving(site) as address, ollama.node(tmp_path / "node") as node:
        name = f"{address}/library/synthetic:tiny"
        for unknown in (f"{address}/library/none", f"{address}/library/synthetic:none"):
            refused = node.run("pull", "--insecure", unknown, check=False)
            assert refused.returncode != 0
            assert "does not exist" in refused.stderr
        node.run("pull", "--insecure", name)
        for own in (f"{address}/library/own:1", name):  # blobs the registry lacks, and a tag that it has
            node.run("cp", name, own)
            refused = node.run("push", "--insecure", own, check=False)
            assert refused.returncode != 0
            assert "405" in refused.stderr
            assert "this registry only hands models out; models come in through airlock import" in refused.stderr


def publish(site, *nodes):
    """Publish the site again, with these nodes enrolled."""
    view = site.root / "published" / "view.json"
    before = parse_view(view.read_bytes())
    replace_file(view, replace(before, sequence=before.sequence + 1, nodes=nodes).to_bytes())
    return before.sequence + 1


def wait_for_view(address, sequence):
    host, _, port = address.rpartition(":")
    for _ in range(200):
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/healthz")
        found = json.loads(connection.getresponse().read())["sequence"]
        connection.close()
        if found == sequence:
            return
        time.sleep(0.05)
    pytest.fail("the server does not take up the view")


EVERY_GENERATION = [pytest.param(*each.values, id=each.id, marks=[] if each.id == "0.9.3" else pytest.mark.slow) for each in GENERATIONS]


@pytest.mark.parametrize(("ollama", "options"), EVERY_GENERATION, indirect=["ollama"])
def test_a_node_is_known_by_the_key_that_ollama_made_for_itself(ollama, options, tmp_path):
    """A first pull is refused and knocks; enrolled, the same command works; revoked, it is refused again.  Nothing is installed on the node."""
    (tmp_path / "site").mkdir()
    site = make_site(tmp_path / "site", gguf(os.urandom(300_000)))
    with serving(site, anonymous_pull=False, **options) as address, ollama.node(tmp_path / "node") as node:
        name = f"{address}/library/synthetic:tiny"
        refused = node.run("pull", "--insecure", name, check=False)
        assert refused.returncode != 0
        [knock] = [entry.members["key"] for entry in read_journal(site.root / "server" / "access.jsonl") if entry.members["verb"] == "knock"]
        written = (tmp_path / "node" / ".ollama" / "id_ed25519.pub").read_text()
        assert parse_node_key(written, what="node") == knock
        if ollama.version == "0.9.3":  # older ones swallow the sentence
            assert f"airlock node enroll NAME --pending {key_fingerprint(knock)}" in refused.stderr
        wait_for_view(address, publish(site, KnownNode("gpu-01", knock, "", ())))
        node.run("pull", "--insecure", name)
        assert_arrived(node, name, site.promoted, site)
        handed = [entry.members for entry in read_journal(site.root / "server" / "access.jsonl") if entry.members["verb"] in ("manifest", "blob")]
        assert {entry["node"] for entry in handed} == {"gpu-01"}
        approved = f"{address}/library/synthetic:tiny-r2"
        refused = node.run("pull", "--insecure", approved, check=False)
        assert refused.returncode != 0
        assert ollama.version != "0.9.3" or "gpu-01 may pull this release once it is promoted" in refused.stderr
        wait_for_view(address, publish(site, KnownNode("gpu-01", knock, "", ("test",))))
        node.run("pull", "--insecure", approved)
        assert_arrived(node, approved, site.approved, site)
        wait_for_view(address, publish(site))
        assert node.run("pull", "--insecure", name, check=False).returncode != 0


@pytest.mark.parametrize("ollama", ["0.9.3"], indirect=True)
def test_nothing_is_needed_but_a_loopback(ollama):
    """The pull above, once more, in a network namespace that has no route to anywhere."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    permitted = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if permitted.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {permitted.stderr.strip()}")
    inside = 'ip link set lo up && [ -z "$(ip route)" ] && [ -z "$(ip -6 route show default)" ] && exec "$@"'
    tests = [f"{__file__}::test_pull_list_show[{ollama.version}]"]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT), *tests]
    done = subprocess.run([*unshare, "sh", "-c", inside, "sh", *run], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
