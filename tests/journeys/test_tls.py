"""A site without a CA makes its own; other programs believe what it signs, and ``serve`` speaks with it."""

import contextlib
import http.client
import json
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("airlock")


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_a_ca_and_a_certificate_that_openssl_believes(serving):
    done = serving.ok("in", "site", "tls-init", "--name", "registry.site.internal", "--name", "127.0.0.1", "--json").json
    tls = serving.path("in/tls")
    for name in ("registry.site.internal", "other.internal"):
        verified = openssl("verify", "-CAfile", tls / "ca.pem", "-purpose", "sslserver", "-verify_hostname", name, tls / "server.pem")
        assert (verified.returncode == 0) is (name == "registry.site.internal"), verified.stderr
    assert openssl("verify", "-CAfile", tls / "ca.pem", "-verify_ip", "127.0.0.1", tls / "server.pem").returncode == 0
    printed = openssl("x509", "-in", tls / "ca.pem", "-noout", "-fingerprint", "-sha256").stdout
    assert printed.strip().partition("=")[2].replace(":", "").lower() == done["fingerprint"]
    assert (tls / "server.key").stat().st_mode & 0o777 == 0o600
    assert (tls / "keystore.json").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in (tls / "keystore.json").read_bytes() + (tls / "ca.pem").read_bytes()


def test_renewed_by_the_same_ca(serving):
    first = serving.ok("in", "site", "tls-init", "--name", "registry.site.internal", "--json").json
    before = serving.path("in/tls/server.pem").read_bytes()
    again = serving.ok("in", "site", "tls-init", "--name", "registry.site.internal", "--days", "30", "--json").json
    assert (first["new_ca"], again["new_ca"], again["fingerprint"]) == (True, False, first["fingerprint"])
    assert serving.path("in/tls/server.pem").read_bytes() != before


@pytest.mark.parametrize("name", ["UPPER.internal", "two words", "-a", "a..b", "*.internal", ""])
def test_names_that_are_none_are_refused(serving, name):
    refused = serving.inside("site", "tls-init", "--name", name)
    assert (refused.code, refused.lines["unchanged"]) == (2, "no certificate was made")
    assert not serving.path("in/tls").exists()


@contextlib.contextmanager
def running(world, *arguments):
    command = [str(PROGRAM), "--home", "in", "serve", "--listen", "127.0.0.1:0", "--json", *arguments]
    process = subprocess.Popen(command, cwd=world.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        yield json.loads(text)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_serve_with_it_in_two_workers(serving):
    serving.ok("in", "site", "tls-init", "--name", "127.0.0.1")
    with running(serving, "--tls-cert", "in/tls/server.pem", "--tls-key", "in/tls/server.key", "--workers", "2", "--anonymous-pull") as told:
        url = told["url"]
        assert url.startswith("https://127.0.0.1:")
        connection = http.client.HTTPSConnection(url[8:], context=ssl.create_default_context(cafile=serving.path("in/tls/ca.pem")), timeout=30)
        connection.request("GET", "/v2/library/tiny/manifests/1b")
        assert connection.getresponse().status == 200
        connection.close()


def test_serve_tells_scripts_where_its_metrics_are(serving):
    with (
        running(serving, "--metrics-listen", "127.0.0.1:0", "--anonymous-pull") as told,
        urllib.request.urlopen(told["metrics"], timeout=30) as answer,
    ):
        assert b'airlock_releases{state="promoted"} 1.0\n' in answer.read()


def test_metrics_beyond_this_machine_are_a_choice_that_is_said(serving):
    refused = serving.program("--home", "in", "serve", "--metrics-listen", "192.0.2.1:0", "--listen", "127.0.0.1:0")
    assert refused.code == 1
    assert "metrics go over plain HTTP to whoever reaches them" in refused.err
    assert refused.lines["error"] == "192.0.2.1:0: can't be listened on"
    assert "--metrics-listen" in refused.lines["hint"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["--listen", "0.0.0.0:0"], 2, "0.0.0.0:0: plain HTTP beyond this machine is not served unasked"),
        (["--tls-cert", "x.pem"], 2, "TLS needs a certificate and its key"),
        (["--tls-cert", "x.pem", "--tls-key", "x.key"], 1, "x.pem and x.key: can't be used for TLS"),
        (["--client-ca", "x.pem", "--listen", "127.0.0.1:0"], 2, "client certificates need TLS"),
        (["--metrics-listen", "5010"], 2, "'5010': not an address to listen on"),
        (["--blob-listen", "127.0.0.1:0"], 2, "--blob-listen is for a server that speaks TLS"),
    ],
)
def test_serve_refuses_half_of_it(serving, arguments, code, error):
    refused = serving.program("--home", "in", "serve", *arguments)
    assert (refused.code, refused.lines["error"]) == (code, error)
