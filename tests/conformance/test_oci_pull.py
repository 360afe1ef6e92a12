"""OCI distribution specification 1.1, the pull side and content discovery, against a site's real server; ends and sections stand in the names' docstrings.

Ported from the read-only cases of the specification's own conformance suite (``01_pull_test.go``, ``03_discovery_test.go``); what writes is refused.
"""

import contextlib
import hashlib
import http.client
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("airlock")
NAME = "library/tiny"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
NONE = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        [error] = self.json["errors"]
        assert set(error) <= {"code", "message", "detail"}
        return error["code"]


@dataclass(frozen=True)
class Registry:
    address: str

    def ask(self, path, method="GET", headers=(), body=None):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def manifest(self, reference="1b", **rest):
        return self.ask(f"/v2/{NAME}/manifests/{reference}", **rest)


@pytest.fixture(scope="module")
def registry(_stages, tmp_path_factory):
    """A site in which tiny:1b is promoted and tiny:2b approved; the server is the program itself."""
    home = shutil.copytree(_stages / "serving", tmp_path_factory.mktemp("oci") / "world")
    command = [str(PROGRAM), "--home", "in", "serve", "--listen", "127.0.0.1:0", "--anonymous-pull", "--quiet"]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on http://"), line
        yield Registry(line.strip().rpartition("/")[2])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_end_1_the_api_is_there(registry):
    """end-1: GET /v2/ answers 200."""
    answer = registry.ask("/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_end_3_a_manifest_by_tag_and_by_digest(registry):
    """end-3 and "Pulling manifests": the bytes, their type, and Docker-Content-Digest."""
    by_tag = registry.manifest()
    digest = "sha256:" + hashlib.sha256(by_tag.body).hexdigest()
    assert (by_tag.status, by_tag.headers["Content-Type"], by_tag.headers["Docker-Content-Digest"]) == (200, MANIFEST, digest)
    assert by_tag.json["mediaType"] == MANIFEST
    by_digest = registry.manifest(digest)
    assert (by_digest.status, by_digest.body, by_digest.headers["Docker-Content-Digest"]) == (200, by_tag.body, digest)


def test_end_3_head(registry):
    """Section "Checking if content exists in the registry": HEAD has the length and digest of GET, and no body."""
    whole = registry.manifest()
    for reference in ("1b", "1b-r1", whole.headers["Docker-Content-Digest"]):
        head = registry.manifest(reference, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(whole.body))
        assert head.headers["Docker-Content-Digest"] == whole.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("reference", ["none", NONE, "sha256-" + "0" * 64])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_end_3_an_unknown_manifest_is_404(registry, reference, method):
    """If the manifest is not found, the response code MUST be 404."""
    answer = registry.manifest(reference, method=method)
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "MANIFEST_UNKNOWN"


def test_end_3_an_etag_saves_the_bytes(registry):
    """RFC 9110, 13.1.2: If-None-Match with the entity's tag gives 304 and no body."""
    etag = registry.manifest().headers["ETag"]
    for value in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = registry.manifest(headers={"If-None-Match": value})
        assert (answer.status, answer.body) == (304, b"")
    assert registry.manifest(headers={"If-None-Match": '"x"'}).status == 200


def blobs(registry):
    document = registry.manifest().json
    return [document["config"], *document["layers"]]


def test_end_2_every_blob_of_the_manifest(registry):
    """end-2 and "Pulling blobs": 200, the bytes, and the digest."""
    for blob in blobs(registry):
        for method in ("GET", "HEAD"):
            answer = registry.ask(f"/v2/{NAME}/blobs/{blob['digest']}", method)
            assert answer.status == 200
            assert answer.headers["Content-Length"] == str(blob["size"])
            assert answer.headers["Docker-Content-Digest"] == blob["digest"]
        whole = registry.ask(f"/v2/{NAME}/blobs/{blob['digest']}").body
        assert "sha256:" + hashlib.sha256(whole).hexdigest() == blob["digest"]


def test_end_2_an_unknown_blob_is_404(registry):
    """If the blob is not found in the registry, the response code MUST be 404."""
    answer = registry.ask(f"/v2/{NAME}/blobs/{NONE}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    assert registry.ask(f"/v2/{NAME}/blobs/{NONE}", "HEAD").status == 404


@pytest.mark.parametrize("digest", ["sha256:short", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha512:" + "0" * 128])
def test_a_digest_that_is_none_is_refused(registry, digest):
    """Code-3: DIGEST_INVALID."""
    for path in (f"/v2/{NAME}/blobs/{digest}", f"/v2/{NAME}/referrers/{digest}"):
        answer = registry.ask(path)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("header", "status", "start", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=10-", 206, 10, None),
        ("bytes=-5", 206, -5, None),
        ("bytes=0-999999999999", 206, 0, None),
        ("bytes=999999999-", 416, None, None),
        ("bytes=-0", 416, None, None),
        ("bytes=9-2", 200, 0, None),
        ("bytes=0-1,3-4", 200, 0, None),
        ("lines=1-2", 200, 0, None),
    ],
)
def test_end_2_ranges(registry, header, status, start, stop):
    """A registry SHOULD support the Range request header (RFC 9110, 14.2)."""
    digest = blobs(registry)[1]["digest"]
    whole = registry.ask(f"/v2/{NAME}/blobs/{digest}").body
    answer = registry.ask(f"/v2/{NAME}/blobs/{digest}", headers={"Range": header})
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"
    else:
        assert answer.body == whole[start:stop]


def test_end_8a_tags_in_lexical_order(registry):
    """end-8a: the tags, in lexical order; release tags among them."""
    answer = registry.ask(f"/v2/{NAME}/tags/list")
    assert answer.status == 200
    assert answer.json == {"name": NAME, "tags": ["1b", "1b-r1", "2b-r2"]}


def test_end_8b_tags_in_pages(registry):
    """end-8b: n and last; a Link header leads to the rest."""
    collected, path = [], f"/v2/{NAME}/tags/list?n=2"
    while path:
        answer = registry.ask(path)
        assert len(answer.json["tags"]) <= 2
        collected += answer.json["tags"]
        link = answer.headers["Link"]
        assert not link or link.endswith('; rel="next"')
        path = link and link[1:].partition(">")[0]
    assert collected == ["1b", "1b-r1", "2b-r2"]
    assert registry.ask(f"/v2/{NAME}/tags/list?n=0").json["tags"] == []
    assert registry.ask(f"/v2/{NAME}/tags/list?last=1b-r1").json["tags"] == ["2b-r2"]
    assert registry.ask(f"/v2/{NAME}/tags/list?last=zzz").json["tags"] == []
    assert registry.ask(f"/v2/{NAME}/tags/list?n=x").status == 400


def test_end_8a_tags_of_an_unknown_repository(registry):
    """If the repository is not found: 404 and NAME_UNKNOWN."""
    answer = registry.ask("/v2/library/none/tags/list")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


def test_the_catalog(registry):
    """Docker's _catalog, reserved by the specification: the repositories, in pages."""
    assert registry.ask("/v2/_catalog").json == {"repositories": [NAME]}
    assert registry.ask("/v2/_catalog?n=0").json == {"repositories": []}
    assert registry.ask("/v2/_catalog?last=zzz").json == {"repositories": []}


def test_end_12a_referrers_are_statement_and_evidence(registry):
    """end-12a: an image index of what refers to the manifest; each can be pulled, and its subject is the manifest."""
    subject = registry.manifest()
    digest = subject.headers["Docker-Content-Digest"]
    answer = registry.ask(f"/v2/{NAME}/referrers/{digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/vnd.oci.image.index.v1+json")
    assert "OCI-Filters-Applied" not in answer.headers
    kinds = []
    for descriptor in answer.json["manifests"]:
        artifact = registry.manifest(descriptor["digest"])
        assert (artifact.status, artifact.headers["Content-Type"]) == (200, descriptor["mediaType"])
        assert "sha256:" + hashlib.sha256(artifact.body).hexdigest() == descriptor["digest"]
        assert len(artifact.body) == descriptor["size"]
        assert artifact.json["subject"] == {"mediaType": MANIFEST, "digest": digest, "size": len(subject.body)}
        for blob in (artifact.json["config"], *artifact.json["layers"]):
            content = registry.ask(f"/v2/{NAME}/blobs/{blob['digest']}")
            assert (content.status, len(content.body)) == (200, blob["size"])
            assert "sha256:" + hashlib.sha256(content.body).hexdigest() == blob["digest"]
        kinds.append(descriptor["artifactType"])
    assert sorted(kinds) == ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json"]


def test_end_12b_referrers_of_one_type(registry):
    """end-12b: filtered by artifactType, which OCI-Filters-Applied says."""
    digest = registry.manifest().headers["Docker-Content-Digest"]
    answer = registry.ask(f"/v2/{NAME}/referrers/{digest}?artifactType=application/vnd.in-toto%2Bjson")
    assert [each["artifactType"] for each in answer.json["manifests"]] == ["application/vnd.in-toto+json"]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    [statement] = [registry.manifest(each["digest"]).json["layers"][0]["digest"] for each in answer.json["manifests"]]
    stated = registry.ask(f"/v2/{NAME}/blobs/{statement}").json
    assert stated["subject"][0]["digest"]["sha256"] == digest[7:]


def test_end_12a_referrers_of_nothing_are_an_empty_index(registry):
    """If the manifest has no referrers, or is not there, the answer is 200 with an empty list, never 404."""
    answer = registry.ask(f"/v2/{NAME}/referrers/{NONE}")
    assert (answer.status, answer.json["manifests"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/v2/{NAME}/blobs/uploads/"),  # end-4a
        ("POST", f"/v2/{NAME}/blobs/uploads/?digest={NONE}"),  # end-4b
        ("PATCH", f"/v2/{NAME}/blobs/uploads/x"),  # end-5
        ("PUT", f"/v2/{NAME}/blobs/uploads/x?digest={NONE}"),  # end-6
        ("PUT", f"/v2/{NAME}/manifests/1b"),  # end-7
        ("DELETE", f"/v2/{NAME}/manifests/1b"),  # end-9
        ("DELETE", f"/v2/{NAME}/blobs/{NONE}"),  # end-10
        ("POST", f"/v2/{NAME}/blobs/uploads/?mount={NONE}&from=library/other"),  # end-11
    ],
)
def test_what_writes_is_refused(registry, method, path):
    """Content management MAY be disabled: 405 with UNSUPPORTED, and a sentence that Ollama shows."""
    answer = registry.ask(path, method, body=b"{}")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert "airlock import" in answer.json["errors"][0]["message"]


@pytest.mark.parametrize("name", ["Library/../tiny", "library/tiny/more", "library", "-x/y", "library/%74iny", "a" * 100 + "/b"])
def test_names_that_are_none(registry, name):
    """code-7 NAME_INVALID: no repository of Ollama's can be called so."""
    answer = registry.ask(f"/v2/{name}/manifests/1b")
    assert answer.status in (400, 404)
    if answer.status == 404:
        assert answer.code == "NAME_INVALID"


def skopeo(*arguments):
    done = subprocess.run(["skopeo", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_reads_manifests_and_copies_the_evidence(registry, tmp_path):
    """Another client, another reading of the specification.

    It copies no model: it accepts no layer types but Docker's own in a Docker manifest, whoever serves it.  Evidence it copies, hashing each blob.
    """
    whole = registry.manifest()
    digest = whole.headers["Docker-Content-Digest"]
    for name in (f"{NAME}:1b", f"{NAME}@{digest}"):
        assert skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.address}/{name}") == whole.body
    listed = skopeo("list-tags", "--tls-verify=false", f"docker://{registry.address}/{NAME}")
    assert json.loads(listed)["Tags"] == ["1b", "1b-r1", "2b-r2"]
    found = registry.ask(f"/v2/{NAME}/referrers/{digest}").json["manifests"]
    assert found
    for each in found:
        target = tmp_path / each["digest"][7:]
        source = f"docker://{registry.address}/{NAME}@{each['digest']}"
        skopeo("copy", "--insecure-policy", "--src-tls-verify=false", "--preserve-digests", source, f"dir:{target}")
        assert (target / "manifest.json").read_bytes() == registry.manifest(each["digest"]).body
