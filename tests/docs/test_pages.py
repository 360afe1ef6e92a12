"""Links lead somewhere, and commands in the pages exist as they are written."""

import re
import shlex
from pathlib import Path

import click
import pytest

from registry import __version__
from registry.cli.main import airlock

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text):
    """Return the anchors that headings make."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_that_exist(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} leads nowhere"
        assert ROOT in file.parents, f"{target} leads out of the repository"
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{target}: no such heading"


def test_every_page_can_be_reached_from_the_readme():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = (target.partition("#")[0] for target in LINK.findall(page.read_text(encoding="utf-8")) if not target.startswith("https://"))
        todo += [(page.parent / link).resolve() for link in links if link]
    assert set(PAGES) <= reached, f"nothing links to {set(PAGES) - reached}"


def commands_in(text):
    """Return the commands in a page's blocks, after a prompt or none, and in its inline code."""
    text = text.replace("\\\n", " ")
    fenced = re.findall(r"^```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    lines = [line for block in [*fenced, *indented] for line in block.splitlines()]
    typed = [match[1] for line in lines if (match := re.match(r"(?:\w* *[$#] )?(airlock [a-z-].*)", line))]
    return typed + re.findall(r"`(airlock [a-z][^`]*)`", text)


def resolve(words):
    """Follow the words of a command line to the command they name; return it with the words that are left."""
    command, words = airlock, list(words)
    options = {name for parameter in airlock.params for name in parameter.opts}
    while isinstance(command, click.Group):
        while words and words[0].startswith("-"):
            assert words[0] in options | {"--help", "-h"}, f"unknown option {words[0]}"
            words.pop(0)
        if not words or words[0] not in command.commands:
            return command, words
        command = command.commands[words.pop(0)]
    return command, words


def checked_commands():
    return [(page, line) for page in PAGES for line in commands_in(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), checked_commands(), ids=lambda value: value.name if isinstance(value, Path) else value[:40])
def test_commands_and_options_exist(page, line):
    line = line.partition("   #")[0].removesuffix("&").replace("'clinical/*'", "x")
    words = shlex.split(line.replace("…", "X"), comments=True)[1:]
    command, rest = resolve(words)
    assert command is not airlock or not rest or rest[0].startswith("-") or rest[0] == "COMMAND", f"{page.name}: no command {rest[:1]}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "-h"}
    for word in rest:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, f"{page.name}: {line}: no option {word}"


def test_some_commands_were_found():
    lines = [line for _, line in checked_commands()]
    assert len(lines) > 60
    for name in ("export", "import", "site init", "trust add", "rollback"):
        assert any(line.startswith(f"airlock {name}") for line in lines), name


def test_options_named_alone_exist():
    """`--option` in running text is an option of some command, or of a script that the same page names."""
    known = set()
    todo = [airlock]
    while todo:
        command = todo.pop()
        known |= {name for parameter in command.params for name in parameter.opts}
        todo += command.commands.values() if isinstance(command, click.Group) else []
    known |= {"--help", "--version", "--insecure", "--merge"}
    for page in PAGES:
        if page.name == "install-inside.md":
            continue  # options of the kit's installer and of pip; tests/journeys/test_kit.py runs them
        text = page.read_text(encoding="utf-8")
        for option in re.findall(r"`(--[a-z][a-z-]+)", text):
            assert option in known, f"{page.name}: no option {option}"


def test_the_version_of_the_changelog_is_ours():
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_keep_to_their_words(page):
    """Words of the glossary, and no superlatives."""
    text = page.read_text(encoding="utf-8").lower()
    for word in ("blazing", "world-class", "seamless", "military-grade", "unbreakable", "revolutionary", "checksum"):
        assert word not in text, f"{page.name}: {word}"
