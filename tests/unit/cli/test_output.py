"""What people and scripts see."""

import json

import click
import pytest

from registry.cli.output import Bars, Output, grouped, human_bytes, print_error, table
from registry.cli.values import Size
from registry.errors import NotFound, OlderRefused


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("500M", 500_000_000), ("1G", 10**9), ("1GiB", 1 << 30), ("1 MiB", 1 << 20), ("2kB", 2000), ("2K", 2000), ("1T", 10**12), ("3B", 3)],
)
def test_sizes(text, size):
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "x", "1X", "-1", "1.5G", "1 G i B", "G"])
def test_not_a_size(text):
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (253_100_000, "253.1 MB"), (10**12, "1.0 TB"), (10**16, "10000.0 TB")]
)
def test_sizes_for_people(count, text):
    assert human_bytes(count) == text


def test_fingerprint_for_the_phone():
    assert grouped("0123456789abcdef") == "0123 4567 89ab cdef"


def test_table():
    assert table(("A", "LONG"), [("xyz", "1"), ("", "")]) == "A    LONG\nxyz  1\n"


def test_error_lines(capsys):
    error = OlderRefused("set X: older", why="first\nsecond", hint="one\ntwo", unchanged="nothing was imported")
    print_error(error, as_json=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "airlock: error: set X: older\nairlock: why: first\nairlock: why: second\nairlock: hint: one\nairlock: hint: two\nairlock: nothing was imported\n"
    )
    print_error(error, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == {
        "kind": "OlderRefused",
        "exit_code": 4,
        "what": "set X: older",
        "why": "first\nsecond",
        "hint": "one\ntwo",
        "unchanged": "nothing was imported",
    }
    assert err.startswith("airlock: error: ")


def test_an_error_without_more_to_say(capsys):
    print_error(NotFound("nothing here"), as_json=False)
    assert capsys.readouterr().err == "airlock: error: nothing here\n"


def test_quiet_and_json(capsys):
    for output in (Output(json=False, quiet=True), Output(json=True, quiet=False)):
        output.next_step("airlock import")
        assert capsys.readouterr() == ("", "")
    Output(json=False, quiet=True).note("a note")
    assert capsys.readouterr().err == ""
    Output(json=True, quiet=True).warn("a warning")
    assert capsys.readouterr() == ("", "airlock: warning: a warning\n")
    Output(json=True, quiet=False).result({"ä": 1}, "text")
    assert json.loads(capsys.readouterr().out) == {"ä": 1}


@pytest.mark.parametrize(("json_", "quiet"), [(True, False), (False, True), (False, False)])
def test_bars_never_write_to_stdout(capsys, json_, quiet):
    bars = Bars(Output(json=json_, quiet=quiet))
    with bars.task("writing", 10) as advance:
        advance(10)
    assert capsys.readouterr().out == ""
