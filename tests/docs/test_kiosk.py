"""What ``kiosk-and-courier.md`` promises beyond its transcript."""

import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/kiosk-and-courier.md"


def shout(folder):
    """Turn every name below a folder into capitals, as some kiosks do."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))


@pytest.fixture
def compare(exported):
    """Run the page's comparison without names in a set's folder."""
    [command] = re.findall(r"^inside  \$ (cd \S+ && \\\n(?:.*\\\n)+ +echo the same)$", PAGE.read_text(), re.MULTILINE)
    command = command.replace("/media/usb/airlock/*/", str(exported.folder()))

    def run():
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    return run


def test_compared_without_names(exported, compare):
    folder = exported.folder()
    shout(folder)
    for name in ("._SET.JSON", "PARTS/._00000001.SEALED", "SCAN.HTML"):
        (folder / name).write_bytes(b"litter")
    done = compare()
    assert (done.returncode, done.stdout) == (0, "the same\n")


@pytest.mark.parametrize("name", ["SET.JSON", "INDEX.SEALED", "PARTS/00000001.SEALED"])
def test_a_change_shows(exported, compare, name):
    folder = exported.folder()
    shout(folder)
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    assert compare().returncode != 0


def test_sums_are_what_windows_reads(exported):
    """The page's PowerShell splits a line at two spaces, compares without case, and takes the rest as a path."""
    lines = (exported.folder() / "SHA256SUMS").read_bytes().decode("ascii").splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert re.fullmatch(r"[0-9a-f]{64}  [a-z0-9./]+", line)


def test_every_file_of_a_set_is_in_the_table(exported):
    """Whatever an export writes, the page says what a kiosk may do with it."""
    table = PAGE.read_text().split("## Before and after")[0]
    named = re.findall(r"`([^`]+)`", "".join(line for line in table.splitlines() if line.startswith("|")))
    files = {str(path.relative_to(exported.folder())) for path in exported.folder().rglob("*") if path.is_file()}
    assert files
    for name in files:
        assert name in named or f"{name.partition('/')[0]}/…" in named, name
