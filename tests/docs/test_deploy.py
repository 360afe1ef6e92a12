"""The example units: what they start exists, and what they promise about privileges stands in them."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from registry.cli.main import airlock

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"


def serve_options():
    return {name for parameter in airlock.commands["serve"].params for name in parameter.opts}


def test_the_unit_starts_a_command_that_exists():
    [line] = re.findall(r"^ExecStart=(.*)$", (DEPLOY / "airlock.service").read_text(), re.MULTILINE)
    words = shlex.split(line)
    assert words[words.index("serve") - 2 : words.index("serve")] == ["--home", "/srv/airlock"]
    options = [word for word in words[words.index("serve") :] if word.startswith("--")]
    assert options
    assert set(options) <= serve_options()


def test_the_unit_drains_longer_than_it_asks_for():
    text = (DEPLOY / "airlock.service").read_text()
    assert int(re.search(r"TimeoutStopSec=(\d+)", text)[1]) > int(re.search(r"--drain-timeout (\d+)", text)[1])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path):
    """Verified as a unit whose program exists: /opt/airlock isn't on this machine."""
    unit = tmp_path / "airlock.service"
    unit.write_text((DEPLOY / "airlock.service").read_text().replace("/opt/airlock/bin/airlock", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "airlock" in line]
    assert complaints == []


@pytest.mark.parametrize(
    "line", ["ReadOnlyPaths=/srv/airlock", "NoNewPrivileges=true", "ProtectSystem=strict", "CapabilityBoundingSet=", "User=airlock-serve"]
)
def test_the_unit_is_unprivileged(line):
    assert line in (DEPLOY / "airlock.service").read_text().splitlines()


def compose():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_compose_file_keeps_the_gap():
    document = compose()
    assert set(document) == {"services", "networks", "volumes"}
    registry, ollama = document["services"]["registry"], document["services"]["ollama"]
    assert document["networks"]["gap"] == {"internal": True}
    assert registry["networks"] == ["gap"]
    assert "ports" not in registry
    assert ollama["ports"] == ["127.0.0.1:11434:11434"]
    assert ollama["environment"]["OLLAMA_NO_CLOUD"] == "1"
    for service in (registry, ollama):
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {volume["source"] for volume in service["volumes"] if volume["type"] == "volume"} <= set(document["volumes"])
        assert set(service["networks"]) <= set(document["networks"])
    assert registry["read_only"] is True
    assert all(volume["read_only"] for volume in registry["volumes"] if volume["type"] == "bind")
    assert not registry["user"].startswith("0")


def test_the_compose_file_starts_a_command_that_exists():
    command = compose()["services"]["registry"]["command"]
    options = [word for word in command[command.index("serve") :] if word.startswith("--")]
    assert options
    assert set(options) <= serve_options()
