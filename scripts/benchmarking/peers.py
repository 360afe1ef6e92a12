"""Call other programs for the job of export and import, on the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv" / "peers"
PINNED = {"modelferry": "modelferry==0.2.1", "ollamazip": "ollamazip==0.2.0"}
NAMES = ("age", *PINNED)

# What `modelferry pack` does after downloading from a hub, which isn't here: chunk, hash, write, read back and verify.
MODELFERRY_PACK = """
import sys
from modelferry.pack import parse_chunk_size, write_bundle
directory, medium, *files = sys.argv[1:]
source = {"type": "huggingface", "endpoint": "", "repo_id": "library/bench", "repo_type": "model", "revision_requested": "main"}
source |= {"commit_sha": "0" * 40, "license": "none", "gated": False}
write_bundle(directory, files, medium, parse_chunk_size("3900M"), source)
"""


class NotInstallable(Exception):
    """A peer is not to be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """How a program writes ``models`` to ``medium`` and takes them into ``store``; each command gets the time of flushing what it wrote.

    ``checks`` says in a few words what it does to the bytes.
    """

    name: str
    checks: str
    out: Sequence[str]
    back: Sequence[str]
    out_environment: Mapping[str, str] = field(default_factory=dict)
    back_environment: Mapping[str, str] = field(default_factory=dict)


def peer(name: str, root: Path, models: Sequence[Path]) -> Peer:
    """Return a peer ready to be called in ``root``, where ``medium`` and ``store`` are; raise NotInstallable if it can't be."""
    ready: dict[str, Callable[[Path, Sequence[Path]], Peer]] = {"age": _age, "modelferry": _modelferry, "ollamazip": _ollamazip}
    return ready[name](root, models)


def flushed(script: str, target: str, *arguments: str | Path) -> list[str]:
    """Return a command that runs a shell script and then flushes the file system on which ``target`` lies."""
    return ["sh", "-ec", f'{script}\nsync -f "{target}"', "sh", *map(str, arguments)]


def _age(root: Path, models: Sequence[Path]) -> Peer:
    if not shutil.which("age"):
        raise NotInstallable("age is not installed; Debian has it: apt-get install age")
    identity, recipient = root / "age.key", root / "age.pub"
    identity.unlink(missing_ok=True)
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    recipient.write_bytes(subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True).stdout)
    out = 'openssl dgst -sha256 "$@"; for each; do age -R age.pub -o "medium/${each##*/}.age" "$each"; done'
    back = 'for each in medium/*.age; do age -d -i age.key -o "store/${each##*/}" "$each"; done; openssl dgst -sha256 store/*'
    return Peer("age + openssl dgst", "hashes, encrypts; no signature", flushed(out, "medium", *models), flushed(back, "store"))


def _modelferry(root: Path, models: Sequence[Path]) -> Peer:
    programs = _installed("modelferry")
    names = [each.relative_to(root) for each in models]
    out = flushed('"$@"', "medium", programs / "python", "-c", MODELFERRY_PACK, root, "medium", *names)
    back = flushed('"$1" unpack medium/* store', "store", programs / "modelferry")
    return Peer("modelferry", "hashes, reads back; in clear, unsigned", out, back)


def _ollamazip(root: Path, models: Sequence[Path]) -> Peer:
    programs = _installed("ollamazip")
    _ollama_store(root / "ollama", models)
    # Its default, gzip, takes many times as long on weights: this is its best.
    out = flushed('"$1" pack library/bench:1 --compress none --output medium/bench.ollamazip', "medium", programs / "ollamazip")
    back = flushed('"$1" unpack --verify medium/bench.ollamazip', "store", programs / "ollamazip")
    models_in = {"OLLAMA_MODELS": str(root / "ollama"), "HOME": str(root)}, {"OLLAMA_MODELS": str(root / "store"), "HOME": str(root)}
    return Peer("ollamazip --compress none", "hashes only on import; in clear, unsigned", out, back, *models_in)


def _ollama_store(store: Path, models: Sequence[Path]) -> None:
    """Lay the models out as one model of Ollama's store, by hard links."""
    (store / "blobs").mkdir(parents=True)
    config = b'{"model_format":"gguf"}'
    layers = []
    for each in models:
        with each.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        (store / "blobs" / f"sha256-{digest}").hardlink_to(each)
        layers.append({"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": each.stat().st_size})
    named = hashlib.sha256(config).hexdigest()
    (store / "blobs" / f"sha256-{named}").write_bytes(config)
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": f"sha256:{named}", "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": described, "layers": layers}
    written = store / "manifests/registry.ollama.ai/library/bench/1"
    written.parent.mkdir(parents=True)
    written.write_text(json.dumps(manifest))


def _installed(name: str) -> Path:
    """Return the programs' directory of the peers' own environment, made on first use."""
    programs, mark = ENVIRONMENT / "bin", ENVIRONMENT / f"{PINNED[name]}.installed"
    if mark.exists():
        return programs
    print(f"bench: installing {PINNED[name]} into {ENVIRONMENT}", file=sys.stderr)
    if not (programs / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", PINNED[name]]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotInstallable(f"{PINNED[name]}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")
    mark.touch()
    return programs
