"""Real programs for the interop tests.

``ollama`` is a real, unmodified Ollama.  Choose a generation with ``@pytest.mark.parametrize("ollama", ["0.9.3", "0.3.7"], indirect=True)``;
without it the newest one that can be had is used.  ``with ollama.node(tmp_path / "node") as node:`` runs ``ollama serve`` with a home of its own.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "real_ollama"


@dataclass(frozen=True)
class Node:
    """A running ``ollama serve``."""

    binary: str
    environment: dict
    models: Path
    url: str
    log: Path

    def run(self, *arguments, check=True):
        """Run one command of the Ollama client against this server; its output is text."""
        done = subprocess.run([self.binary, *arguments], env=self.environment, capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"ollama {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
        return done

    def api(self, path, body=None):
        """Return the JSON answer of GET ``path``, or of POST when there is a body."""
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, data=data), timeout=300) as answer:
            return json.loads(answer.read())

    def manifest(self, name):
        """Return the bytes of the manifest file of ``host/namespace/model:tag``."""
        path, _, tag = name.rpartition(":")
        return (self.models / "manifests" / path / tag).read_bytes()

    def blob(self, digest):
        """Return the path at which the blob with this digest lies."""
        return self.models / "blobs" / digest.replace(":", "-")


@dataclass(frozen=True)
class Ollama:
    """A real Ollama program of one version."""

    version: str
    binary: str
    environment: dict = field(default_factory=dict)

    @contextlib.contextmanager
    def node(self, home, **environment):
        """Run ``ollama serve`` in the directory ``home`` while the block runs; ``environment`` adds or overrides variables."""
        models = home / "models"
        models.mkdir(parents=True, exist_ok=True)
        for attempt in range(3):  # between choosing a free port and binding it, somebody else may take it
            port = free_port()
            variables = {
                "HOME": str(home),
                "PATH": os.environ["PATH"],
                "OLLAMA_HOST": f"127.0.0.1:{port}",
                "OLLAMA_MODELS": str(models),
                **self.environment,
                **environment,
            }
            log = home / f"serve-{attempt}.log"
            with log.open("wb") as output:
                server = subprocess.Popen([self.binary, "serve"], env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            try:
                if wait_until_it_answers(server, port):
                    yield Node(self.binary, variables, models, f"http://127.0.0.1:{port}", log)
                    return
            finally:
                stop(server)
        pytest.fail(f"ollama serve does not start:\n{log.read_text(errors='replace')[-4000:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(server, port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return server.poll() is None
        time.sleep(0.05)
    return False


def stop(server):
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def ollama(request):
    """A real Ollama; ``request.param`` chooses the version.  ``AIRLOCK_TEST_STRICT=1`` makes its absence a failure."""
    cache = Path(os.environ.get("AIRLOCK_TEST_CACHE") or Path.home() / ".cache" / "airlock-tests")
    version = getattr(request, "param", None)
    command = [sys.executable, str(SCRIPT), "fetch", str(cache / "ollama"), *(["--version", version] if version else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say = pytest.fail if os.environ.get("AIRLOCK_TEST_STRICT") == "1" else pytest.skip
        say(f"no Ollama {version or ''} can be had here: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    print(f"running Ollama {found['version']}")
    return Ollama(found["version"], found["binary"], found["environment"])


@pytest.fixture
def write_gguf():
    """A function that writes a small, sound GGUF file with the reference writer and returns its path."""

    def write(path, *, architecture="llama", file_type=1, chat_template=None, elements=64, **texts):
        writer = gguf.GGUFWriter(path, architecture)
        if file_type is not None:
            writer.add_file_type(file_type)
        writer.add_block_count(1)
        if chat_template:
            writer.add_chat_template(chat_template)
        for key, value in texts.items():
            writer.add_string(f"general.{key}", value)
        writer.add_token_list(["<s>", "</s>", "a"])
        writer.add_tensor("token_embd.weight", np.arange(elements, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write
