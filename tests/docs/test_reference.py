"""What the reference pages say is what the code says."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from registry import errors
from registry.content import canonical, manifest, view
from registry.media import index, sets
from registry.store import log, site, station, streamed
from registry.trust import oms, receipt, refresh, repair, statement
from registry.workflow import site_card

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def rows(page, heading):
    """Return the cells of the table under a heading, without its first two lines."""
    after = page.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in after.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert found, f"{page.name}: no table under {heading}"
    return found


def error_classes():
    found, todo = {}, [errors.AirlockError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo += kind.__subclasses__()
    return {name: kind for name, kind in found.items() if kind.__module__ == "registry.errors"}


def test_the_command_reference_is_fresh():
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "cli-reference"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/reference/exit-codes.md"])
def test_every_exit_code_is_documented_and_no_other(page):
    cells = rows(ROOT / page, "Exit codes") if page == "README.md" else [row for row in table_of(ROOT / page) if row[0].isdigit()]
    assert {int(row[0]) for row in cells} == {0, *(kind.exit_code for kind in error_classes().values())}


def table_of(page):
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_exit_codes_stand_with_their_classes():
    classes = error_classes()
    named = {row[1].strip("`"): int(row[0]) for row in table_of(DOCS / "reference" / "exit-codes.md") if row[1]}
    assert named == {name: classes[name].exit_code for name in named}
    assert len(named) == len({kind.exit_code for kind in classes.values()})


def test_the_members_of_an_error_in_json():
    text = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    members = ",".join(f'"{name}"' for name in errors.AirlockError("x").as_json())
    assert f'{{"error":{{{members}}}}}' in text


CAPS = {
    "`set.json`": sets.MAX_HEADER_BYTES,
    "index payload": index.MAX_INDEX_BYTES,
    "parts of a set": index.MAX_PARTS,
    "part size": (index.MIN_PART_BYTES, index.MAX_PART_BYTES),
    "everything before the parts of a stream": streamed.MAX_SMALL_BYTES,
    "objects of a set": index.MAX_OBJECTS,
    "recipients of a set": sets.MAX_RECIPIENTS,
    "an OMS bundle": oms.MAX_BUNDLE_BYTES,
    "statement": statement.MAX_STATEMENT_BYTES,
    "manifest": manifest.MAX_MANIFEST_BYTES,
    "a root": refresh.CAPS["root"],
    "`timestamp.json`": refresh.CAPS["timestamp"],
    "`snapshot.json`": refresh.CAPS["snapshot"],
    "`targets.json`": refresh.CAPS["targets"],
    "`site.pub`": site_card.MAX_CARD_BYTES,
    "receipt payload": receipt.MAX_RECEIPT_BYTES,
    "repair request": repair.MAX_REPAIR_BYTES,
    "event": log.MAX_EVENT_BYTES,
    "published view": view.MAX_VIEW_BYTES,
    "depth of JSON": canonical.MAX_DEPTH,
}


def test_the_caps_of_the_format():
    def spelled(value):
        return " to ".join(f"{each:,}" for each in value) if isinstance(value, tuple) else f"{value:,}"

    assert {row[0]: row[1] for row in rows(DOCS / "reference" / "format.md", "Caps")} == {name: spelled(value) for name, value in CAPS.items()}


def test_the_members_of_the_index_are_all_described():
    described = {name for row in rows(DOCS / "reference" / "format.md", "The index") for name in re.findall(r"`(\w+)`", row[0])}
    made = index.Index("x", "sha256:" + "0" * 64, "", "", 1, (), (), (), 1 << 20, (1, "sha256:" + "0" * 64)).to_bytes()
    assert described == set(canonical.load(made, what="index", limit=1 << 20))


def test_every_verb_of_the_log_is_described():
    described = {}
    for row in rows(DOCS / "reference" / "home.md", "Events of the log"):
        for verb in re.findall(r"`([\w.]+)`", row[0]):
            described[verb] = row[1]
    places = dict.fromkeys(site._VERBS.keys() & station._VERBS.keys(), "both")
    assert described == {**dict.fromkeys(site._VERBS, "site"), **dict.fromkeys(station._VERBS, "station"), **places}


def messages():
    """Return every message of a deliberate error in the code, as a pattern, with the exit code of its class."""
    classes, found = error_classes(), []
    for path in (ROOT / "registry").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {node.targets[0].id: node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
        for node in ast.walk(tree):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in classes and node.args:
                text = named.get(node.args[0].id, node.args[0]) if isinstance(node.args[0], ast.Name) else node.args[0]
                if not (pattern := pattern_of(text)):
                    continue
                found.append((re.compile(pattern), classes[name].exit_code))
    assert len(found) > 100
    return found


def pattern_of(text):
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    pieces = [
        re.escape(part.value) if isinstance(part, ast.Constant) else ".+"
        for part in parts
        if not isinstance(part, ast.Constant) or isinstance(part.value, str)
    ]
    fixed = "".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))
    return "".join(pieces) if len(fixed) > 6 else ""


REFUSALS = re.findall(r"^### `(.+)` · exit (\d+)$", (DOCS / "how-to" / "when-it-refuses.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("message", "code"), REFUSALS)
def test_each_refusal_on_its_page_is_one_that_the_code_can_say(message, code):
    assert any(pattern.fullmatch(message) and exit_code == int(code) for pattern, exit_code in messages()), f"{message} with exit {code}"


def test_the_page_of_refusals_has_some():
    assert len(REFUSALS) > 25


def test_every_package_and_module_is_on_the_map():
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    parts = {
        path.stem if path.is_file() else path.name
        for path in (ROOT / "registry").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    assert {name for name in parts if f"`registry.{name}`" in text} == parts
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    drawn = re.search(r"arrows run downward only:\n\n((?:    .*\n|\n)+)", text)[1]
    boxes = [re.split(r"\s{3,}", line.strip())[0] for line in drawn.splitlines() if line.strip() and line.strip() != "│"]
    assert [[name.strip() for name in box.split("│")] for box in boxes] == [
        [name.strip().removeprefix("registry.") for name in layer.split("|")] for layer in layers
    ]


def locked():
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"[a-z0-9]", line)]


def test_the_direct_dependencies_are_explained():
    explained = {row[0].strip("`") for row in rows(DOCS / "dependencies.md", "Direct")}
    assert explained == {Requirement(text).name for text in PROJECT["project"]["dependencies"]}


def test_everything_that_crosses_the_gap_is_listed():
    direct = {row[0].strip("`") for row in rows(DOCS / "dependencies.md", "Direct")}
    brought = {row[0].strip("`") for row in rows(DOCS / "dependencies.md", "Brought along")}
    here = {each.name for each in locked() if each.marker is None or each.marker.evaluate({"sys_platform": "linux"})}
    assert direct | brought == here
    assert not direct & brought


def test_what_nothing_uses_is_said():
    """The page says of httpx that nothing uses it yet; when something does, the page must say what for."""
    uses = any("import httpx" in path.read_text() or "from httpx" in path.read_text() for path in (ROOT / "registry").rglob("*.py"))
    cell = next(row[1] for row in rows(DOCS / "dependencies.md", "Direct") if row[0] == "`httpx`")
    assert uses != cell.startswith("nothing yet")
