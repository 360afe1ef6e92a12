"""The kit installs airlock where there is no network, and refuses to when it isn't what was made."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from registry import __version__

ROOT = Path(__file__).parents[2]
WITHOUT_NETWORK = ("unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",)))

pytestmark = pytest.mark.slow  # the wheels are downloaded


def run(*command: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A kit for the Python that runs the tests."""
    kit = tmp_path_factory.mktemp("outside") / "kit"
    done = run("env", f"PYTHON={sys.executable}", ROOT / "scripts/kit", kit)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("bash install")
    return kit


@pytest.fixture
def kit(built, tmp_path):
    """A copy of the kit, as it arrived inside."""
    return shutil.copytree(built, tmp_path / "medium" / "kit")


def install(kit, prefix):
    """Install without a network and without anything that the builder's environment could lend."""
    return run(*WITHOUT_NETWORK, "bash", kit / "install", "--prefix", prefix, env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})


def assert_refused(done, prefix, reason):
    assert done.returncode == 1
    assert reason in done.stderr
    assert "install: nothing was installed" in done.stderr
    assert not prefix.exists()


def test_it_installs_without_a_network(kit, tmp_path):
    prefix = tmp_path / "opt airlock"
    done = install(kit, prefix)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"next: {prefix}/bin/airlock site init"

    version = run(*WITHOUT_NETWORK, prefix / "bin/airlock", "--version", env={})
    assert (version.returncode, version.stderr) == (0, "")
    assert __version__ in version.stdout

    everything = run(prefix / "bin/airlock", "--help", env={})
    assert everything.returncode == 0, everything.stderr


def test_only_what_runs_is_installed(kit, tmp_path):
    prefix = tmp_path / "airlock"
    assert install(kit, prefix).returncode == 0
    (python,) = prefix.glob(f"{__version__}-*/bin/python")
    listing = "import importlib.metadata as m, json; print(json.dumps([[d.name.lower().replace('_', '-'), d.version] for d in m.distributions()]))"
    installed = dict(json.loads(run(python, "-I", "-c", listing).stdout))
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE))
    assert installed.pop("model-airlock") == __version__
    assert installed
    assert installed.items() <= locked.items()


def test_installing_again_changes_nothing(kit, tmp_path):
    prefix = tmp_path / "airlock"
    first, second = install(kit, prefix), install(kit, prefix)
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout
    assert len(list(prefix.iterdir())) == 2  # the environment and bin/


def test_an_unfinished_installation_is_done_again(kit, tmp_path):
    prefix = tmp_path / "airlock"
    assert install(kit, prefix).returncode == 0
    (environment,) = prefix.glob(f"{__version__}-*")
    (prefix / "bin/airlock").unlink()  # what a power cut before the last step leaves
    shutil.rmtree(environment / "lib")
    assert install(kit, prefix).returncode == 0
    assert run(prefix / "bin/airlock", "--version", env={}).returncode == 0


def test_every_file_is_in_sha256sums(built):
    listed = {line[66:] for line in (built / "SHA256SUMS").read_text().splitlines()}
    found = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert found == listed | {"SHA256SUMS"}


def test_names_survive_fat32(built):
    names = [path.name for path in built.rglob("*")]
    assert len(names) > 10
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}", name) for name in names)


def test_only_wheels(built):
    wheels = list((built / "wheels").iterdir())
    assert wheels
    assert {wheel.suffix for wheel in wheels} == {".whl"}


def test_requirements_name_no_index_and_no_path(built):
    text = (built / "requirements.txt").read_text()
    assert "model-airlock==" in text
    assert "://" not in text
    assert not re.search(r"^\s*(-[a-z]|--(?!hash=))", text, re.MULTILINE)


def test_an_edited_wheel_is_refused(kit, tmp_path):
    wheel = next((kit / "wheels").glob("tuf-*.whl"))
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)
    assert_refused(install(kit, tmp_path / "airlock"), tmp_path / "airlock", wheel.name)


def test_a_missing_wheel_is_refused(kit, tmp_path):
    wheel = next((kit / "wheels").glob("tuf-*.whl"))
    wheel.unlink()
    assert_refused(install(kit, tmp_path / "airlock"), tmp_path / "airlock", wheel.name)


def test_an_added_wheel_is_refused(kit, tmp_path):
    (kit / "wheels/zz_added-1.0-py3-none-any.whl").write_bytes(b"")
    assert_refused(install(kit, tmp_path / "airlock"), tmp_path / "airlock", "zz_added-1.0-py3-none-any.whl")


def test_another_python_is_refused(kit, tmp_path):
    (kit / "python-version.txt").write_text("3.99\n")
    sums = (kit / "SHA256SUMS").read_text().splitlines()
    digest = run("sha256sum", kit / "python-version.txt").stdout.split()[0]
    (kit / "SHA256SUMS").write_text("".join(f"{digest}  {s[66:]}\n" if s.endswith("python-version.txt") else f"{s}\n" for s in sums))
    assert_refused(install(kit, tmp_path / "airlock"), tmp_path / "airlock", "this kit is for Python 3.99")


def test_a_directory_in_use_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    done = run(ROOT / "scripts/kit", tmp_path)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
