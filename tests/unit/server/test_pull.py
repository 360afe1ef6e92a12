"""The pull contract over a real server: manifests, blobs, ranges, capabilities, and what everything else gets."""

import hashlib
import json
import re
import socket

import pytest

from registry.content.manifest import MANIFEST_TYPE

MODEL = "/v2/library/gemma3"


def test_the_base_answers(served):
    for path in ("/v2/", "/v2"):
        answer = served.server.ask(path)
        assert (answer.status, answer.body) == (200, b"{}")
    assert served.server.ask("/v2/", "HEAD").status == 200


@pytest.mark.parametrize("reference", ["270m", "270M", "270m-r1", "digest", "digest tag", "DIGEST TAG"])
def test_manifest_by_tag_release_and_digest(served, manifest_digest, reference):
    digest = manifest_digest(served.promoted)
    dashed = digest.replace(":", "-")
    reference = {"digest": digest, "digest tag": dashed, "DIGEST TAG": dashed.upper()}.get(reference, reference)
    answer = served.server.ask(f"{MODEL}/manifests/{reference}", headers={"Accept": MANIFEST_TYPE})
    assert (answer.status, answer.body) == (200, served.promoted.to_bytes())
    assert answer.headers["Content-Type"] == MANIFEST_TYPE
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["ETag"] == f'"{digest}"'
    head = served.server.ask(f"{MODEL}/manifests/{reference}", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(answer.body)))
    assert head.headers["Docker-Content-Digest"] == digest


def test_names_in_any_letter_case(served):
    assert served.server.ask("/v2/LIBRARY/Gemma3/manifests/270M").body == served.promoted.to_bytes()


def test_approved_releases_by_number_and_digest_only(served, manifest_digest):
    for reference in ("270m-r2", manifest_digest(served.approved)):
        assert served.server.ask(f"{MODEL}/manifests/{reference}").body == served.approved.to_bytes()
    assert served.server.ask("/v2/clinical/triage/manifests/latest").code == "MANIFEST_UNKNOWN"
    assert served.server.ask("/v2/clinical/triage/manifests/latest-r1").status == 200


def test_what_is_unknown(served, manifest_digest):
    for path, code in (
        (f"{MODEL}/manifests/1b", "MANIFEST_UNKNOWN"),
        (f"{MODEL}/manifests/270m-r3", "MANIFEST_UNKNOWN"),
        (f"{MODEL}/manifests/{manifest_digest(served.hidden)}", "MANIFEST_UNKNOWN"),
        ("/v2/library/none/manifests/latest", "NAME_UNKNOWN"),
        (f"{MODEL}/blobs/{served.hidden.layers[0].digest}", "BLOB_UNKNOWN"),  # in the store, in nothing that is served
        (f"{MODEL}/blobs/{manifest_digest(served.promoted)}", "BLOB_UNKNOWN"),  # a manifest, not a blob of one
        (f"/v2/clinical/triage/blobs/{served.promoted.layers[0].digest}", "BLOB_UNKNOWN"),  # of another repository
        (f"/v2/library/none/blobs/{served.promoted.layers[0].digest}", "BLOB_UNKNOWN"),
    ):
        answer = served.server.ask(path)
        assert (answer.status, answer.code) == (404, code), path
        assert answer.headers["Content-Type"] == "application/json"
        head = served.server.ask(path, "HEAD")
        assert (head.status, head.body) == (404, b"")


def test_blob_head_has_the_exact_length(served):
    for blob in served.promoted.blobs:
        answer = served.server.ask(f"{MODEL}/blobs/{blob.digest}", "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Length"] == str(blob.size)
        assert answer.headers["Docker-Content-Digest"] == blob.digest
        assert answer.headers["ETag"] == f'"{blob.digest}"'


def test_blob_get_is_the_body_and_a_relative_location_that_serves_ranges(served):
    blob = served.promoted.layers[0]
    answer = served.server.ask(f"{MODEL}/blobs/{blob.digest}")
    assert answer.status == 200
    assert answer.body == served.weights
    assert "sha256:" + hashlib.sha256(answer.body).hexdigest() == blob.digest
    location = answer.headers["Location"]
    assert re.fullmatch(rf"/capability/library/gemma3/270m-r1/promoted/{blob.digest}/-/[0-9]+/[0-9a-f]{{64}}", location)
    parts = [(0, 99), (100, 199), (200, blob.size - 1)]
    answers = [served.server.ask(location, headers={"Range": f"bytes={first}-{last}"}) for first, last in parts]
    assert [part.status for part in answers] == [206] * 3
    assert b"".join(part.body for part in answers) == served.weights
    assert answers[1].headers["Content-Range"] == f"bytes 100-199/{blob.size}"
    assert answers[1].headers["Content-Length"] == "100"
    whole = served.server.ask(location)
    assert (whole.status, whole.body, whole.headers["Location"]) == (200, served.weights, None)


def test_ranges_of_the_plain_url(served):
    blob = served.promoted.layers[0]
    path = f"{MODEL}/blobs/{blob.digest}"
    etag = f'"{blob.digest}"'
    cases = {
        "bytes=5-9": (206, served.weights[5:10]),
        "bytes=-7": (206, b"the end"),
        f"bytes={blob.size - 3}-": (206, b"end"),
        f"bytes=0-{blob.size + 5}": (206, served.weights),
        "bytes=0-0,5-6": (200, served.weights),
        "bytes=9-5": (200, served.weights),
        "lines=1-2": (200, served.weights),
    }
    for header, (status, body) in cases.items():
        answer = served.server.ask(path, headers={"Range": header})
        assert (answer.status, answer.body) == (status, body), header
        assert ("Location" in answer.headers) == (status == 200)
    for header in (f"bytes={blob.size}-", "bytes=-0", "bytes=" + "9" * 1000 + "-"):
        answer = served.server.ask(path, headers={"Range": header})
        assert answer.status == 416, header
        assert answer.headers["Content-Range"] == f"bytes */{blob.size}"
    assert served.server.ask(path, headers={"Range": "bytes=0-1", "If-Range": etag}).status == 206
    assert served.server.ask(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status == 200


def test_not_modified(served):
    blob = served.promoted.layers[0].digest
    for path in (f"{MODEL}/blobs/{blob}", f"{MODEL}/manifests/270m"):
        etag = served.server.ask(path, "HEAD").headers["ETag"]
        for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = served.server.ask(path, headers={"If-None-Match": header})
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
        assert served.server.ask(path, headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_reading_is_served(served, method):
    for path in ("/v2/", f"{MODEL}/blobs/uploads/", f"{MODEL}/manifests/270m", "/capability/x"):
        answer = served.server.ask(path, method, body=b"x" * 1000)
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert answer.headers["Allow"] == "GET, HEAD"
        assert "airlock import" in json.loads(answer.body)["errors"][0]["message"]


BLOB_HEX = "0" * 64


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../healthz",
        "/v2/library/../../etc/passwd",
        "/v2/library/gemma3/manifests/../../../etc/passwd",
        "/v2/library/gemma3/manifests/..%2f..%2fetc%2fpasswd",
        "/v2/library%2fgemma3/manifests/270m",
        "/v2/library/gemma3/manifests/270%6D",
        "/v2/library/gemma3/manifests/270m/",
        "/v2/library/gemma3/manifests/270m%00",
        "/v2/library/gemma3/manifests/270m%0a",
        "/v2/library/gemma3/manifests/",
        "/v2//library/gemma3/manifests/270m",
        "//v2/library/gemma3/manifests/270m",
        "/v2/a/b/c/manifests/latest",
        "/v2/gemma3/manifests/270m",
        "/v2/.hidden/gemma3/manifests/270m",
        "/v2/library/..gemma3/manifests/270m",
        "/v2/" + "a" * 81 + "/gemma3/manifests/270m",
        "/v2/library/" + "a" * 2000 + "/manifests/270m",
        "/v2/library/gemma3/manifests/" + "a" * 129,
        "/v2/library/gemma3/manifests/sha256:" + "A" * 64,
        "/v2/library/gemma3/blobs/sha256:" + BLOB_HEX[:-1] + "A",
        "/v2/library/gemma3/blobs/sha256:" + BLOB_HEX[:-1],
        "/v2/library/gemma3/blobs/sha512:" + BLOB_HEX * 2,
        "/v2/library/gemma3/blobs/sha256:../../../../etc/passwd",
        "/v2/library/gemma3/blobs/sha256%3A" + BLOB_HEX,
        "/v2/library/gemma3/blobs/SHA256:" + BLOB_HEX,
        "/v2/library/gemma3/blobs/uploads/",
        "/V2/",
        "/",
        "/favicon.ico",
        "/../../etc/passwd",
    ],
)
def test_path_tricks_end_in_an_error_of_ours(served, path):
    answer = served.server.ask(path)
    assert answer.status in (400, 404)
    assert re.fullmatch("[A-Z_]+", answer.code)
    assert len(answer.body) < 300


def test_an_escaped_or_queried_name_is_no_other_spelling(served):
    assert served.server.ask(f"{MODEL}/manifests/270m?x=1").status == 200  # a query belongs to nobody and changes nothing
    assert served.server.ask("/v2/library/%67emma3/manifests/270m").status == 404


def test_a_bent_capability_opens_nothing(served):
    blob = served.promoted.layers[0].digest
    location = served.server.ask(f"{MODEL}/blobs/{blob}").headers["Location"]
    other = served.promoted.layers[1].digest
    last = "0" if location[-1] != "0" else "1"
    for bent in (
        location[:-1] + last,
        location.replace(blob, other),
        location.replace("gemma3", "gemma4"),
        location.replace("/-/", "/node/"),
        location.replace("-r1", "-r2"),
        location.replace("promoted", "approved"),
        location + "?x=1",
        location + "/",
        location.replace(":", "%3A"),
        location[:-64] + location[-64:].upper(),
        "/capability/",
        "/capability/" + "x" * 3000,
    ):
        answer = served.server.ask(bent, headers={"Range": "bytes=0-9"})
        assert (answer.status, answer.code) == (403, "DENIED"), bent


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v2/" + "a" * 9000, {}), ("/v2/", {"X-Long": "a" * 9000}), ("/v2/", {f"X-{n}": "1" for n in range(200)}), ("/v2/\x01", {})],
    ids=["line", "header", "headers", "control"],
)
def test_oversized_and_broken_requests_end_in_400(served, path, headers):
    connection_line = "".join([f"GET {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"])
    with socket.create_connection(served.server.address, timeout=30) as connection:
        connection.sendall(connection_line.encode())
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.split()[1] == b"400"
    assert b'{"errors":[{"code":"UNSUPPORTED"' in answer
    assert b"aaaa" not in answer
    assert "Traceback" not in served.server.log.read_text()


def test_every_answer_is_plainly_typed_and_names_no_version(served):
    for path in ("/v2/", "/healthz", f"{MODEL}/manifests/270m", f"{MODEL}/blobs/{served.promoted.layers[0].digest}", "/none"):
        headers = served.server.ask(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "airlock"


def test_health(served):
    answer = served.server.ask("/healthz")
    assert answer.status == 200
    assert json.loads(answer.body) == {"status": "ok", "sequence": 1, "releases": 3, "unreadable": 0, "problem": ""}
