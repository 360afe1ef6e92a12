"""Every claim of the threat model names a test that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tests_it_names_exist():
    folder = None
    named = []
    for match in re.finditer(r"`((?:tests/[a-z/]+/)?)([a-z_-]+\.(?:py|txt))`", (ROOT / "docs/explanation/threat-model.md").read_text()):
        folder = match[1] or folder
        named.append(ROOT / folder / match[2])
    assert len(named) > 30
    assert [str(path) for path in named if not path.is_file()] == []
