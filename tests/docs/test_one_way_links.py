"""What ``one-way-links.md`` promises beyond its transcript."""

import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/one-way-links.md"


@pytest.fixture
def by_hand(offered):
    """Return a function that turns a stream into the medium ``by-hand``, by the page."""
    [script] = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    offered.path("by-hand").mkdir()

    def run(stream):
        offered.path("by-hand/set.stream").write_bytes(stream)
        done = subprocess.run(["bash", "-c", script], cwd=offered.path("by-hand"), capture_output=True, text=True, check=False, timeout=60)
        offered.path("by-hand/set.stream").unlink()
        return done

    return run


def test_a_stream_becomes_a_medium(offered, by_hand, tree):
    done = by_hand(offered.stream("stick"))
    assert done.returncode == 0, done.stderr
    made, written = tree(offered.folder("by-hand")), tree(offered.folder("stick"))
    assert made == {name: digest for name, digest in written.items() if name not in ("README.txt", "SHA256SUMS", "medium.json")}
    offered.ok("in", "import", "by-hand")


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "parts/../../../evil", "metadata/..", "parts/00000001.sealed/../x"])
def test_names_that_climb_are_not_followed(offered, by_hand, frame, line, name):
    before = sorted(path for path in offered.root.rglob("*") if path.is_file())
    by_hand(line(f"airlock-stream-v1 {offered.folder('stick').name}") + frame(name, b"x") + line('{"end":true}'))
    assert sorted(path for path in offered.root.rglob("*") if path.is_file()) == before
    assert not Path("/tmp/evil").exists()
