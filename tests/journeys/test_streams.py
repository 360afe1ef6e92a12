"""One-way links, as processes with real pipes: the set goes in as a stream, and nothing comes back."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("airlock"))
EXPORT = ["--home", "out", "--passphrase-file", "passphrase", "export", "--to", "-", "--recipient", "in/site.pub", "--part-size", "1MiB"]
IMPORT = ["--home", "in", "--passphrase-file", "passphrase", "import", "-"]
# A process between this one and the one that is measured: a child begins with the peak of whoever forked it.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@dataclass
class Ended:
    """How a process ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def started(world, command, **rest):
    return subprocess.Popen(command, cwd=world.root, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **rest})


def pipeline(world, *commands):
    """Run commands side by side, each reading what the one before it writes; return how each ended."""
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            before = processes[-1].stdout if processes else subprocess.DEVNULL
            processes.append(stack.enter_context(started(world, command, stdin=before)))
            if before is not subprocess.DEVNULL:
                before.close()  # ours; theirs is open
        *rest, last = processes
        out, err = last.communicate(timeout=120)
        ended = []
        for process in rest:
            errors = process.stderr.read()
            ended.append(Ended(process.wait(timeout=120), "", errors.decode()))
        return [*ended, Ended(last.returncode, out.decode(), err.decode())]


def airlock(*words):
    return [PROGRAM, *map(str, words)]


def apart():
    """The words before a command that has no network, if this user may take it away."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network namespace")
    return ["unshare", "-n"]


def sent(world, *options):
    """Export; return the stream and the result, which stands on stderr."""
    stream, done = world.send(*EXPORT[4:], *options, "--json")
    assert done.code == 0, done.err
    return stream, json.loads(re.search(r"^\{$.*^\}$", done.err, re.MULTILINE | re.DOTALL)[0])


@pytest.fixture
def linked(imported):
    """A site that trusts the station, which has pinned a model of five parts."""
    imported.model("wide.gguf", 5, rows=40_000)
    imported.ok("out", "pin", "wide:1b", "--from", "file:wide.gguf")
    return imported


def test_through_a_pipe(linked):
    """Outside and inside side by side, the inside without a network; stdout carries the stream and nothing else."""
    outside, came = pipeline(linked, airlock(*EXPORT), [*apart(), *airlock(*IMPORT)])
    assert outside.code == 0, outside.err
    assert came.code == 0, came.err
    assert "quarantine  library/wide:1b-r1" in came.out
    assert re.search(r"^set +01\w{24}, [\d.]+ MB in \d+ part\(s\), sent$", outside.err, re.MULTILINE)
    assert "nobody has seen yet that the set arrived" in outside.err
    assert "next: airlock trust add - --fingerprint" in outside.err
    linked.ok("in", "check")
    set_id = re.search(r"01\w{24}", outside.err)[0]
    verbs = [(each["verb"], each["subject"].get("set")) for each in linked.events("out")][-3:]
    assert verbs == [("set.start", set_id), ("set.send", set_id), ("set.finish", set_id)]
    assert linked.ok("out", "medium", "list", "--json").json[0]["set"] != set_id, "there is no medium of it"
    # the same again is a set of its own, which brings nothing new
    stream, document = sent(linked)
    assert document["set"] != set_id
    done = linked.feed(stream, "import", "-")
    assert done.code == 0, done.err
    assert "newer metadata accepted, no new release" in done.out
    assert "nothing to do, 3 release(s) are here already" in linked.feed(stream, "import", "-").out


def test_a_new_site(exported):
    """A site that no medium ever reaches: trust comes through the link, too."""
    stream, document = sent(exported, "--metadata-only")
    assert document["parts"] == 0
    assert "by a publisher that is not trusted here" in exported.feed(stream, "import", "-").err
    command = ["trust", "add", "-", "--fingerprint", document["fingerprint"]]
    done = exported.feed(stream, *command)
    assert (done.code, done.out.splitlines()[-1]) == (0, "next: airlock import -"), done.err
    # a whole set does as well; it is read to its end, so that whoever sends it ends well, and nothing of it is imported
    stream, _ = sent(exported)
    assert exported.feed(stream, *command).code == 0
    assert exported.releases() == []
    done = exported.feed(stream, "import", "-")
    assert done.code == 0, done.err
    assert [name for name, _, _ in exported.releases()] == ["library/tiny:1b", "library/tiny:2b"]


def test_through_a_fifo_and_a_file(linked):
    stream, document = sent(linked)
    linked.path("stream").write_bytes(stream)
    assert (document["media"], document["path"], document["read_back"]) == ([], None, False)
    assert stream.startswith(b"airlock-stream-v1 " + document["set"].encode())
    os.mkfifo(linked.path("fifo"))
    with started(linked, ["sh", "-c", "cat stream > fifo"]) as writer:
        done = subprocess.run(
            ["sh", "-c", 'exec "$0" "$@" < fifo', *airlock(*IMPORT, "--json")], cwd=linked.root, capture_output=True, timeout=120, check=False
        )
        assert writer.wait(timeout=60) == 0
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sets"][0]["new"] == ["library/wide:1b-r1"]


@pytest.mark.parametrize("sealed", [True, False])
def test_cut_then_completed(linked, sealed):
    """The link breaks: what arrived is kept.  A medium of the same set brings the rest; nothing that is here is read again."""
    stream, document = sent(linked, *([] if sealed else ["--no-seal"]))
    before = linked.holdings()
    came = linked.feed(stream[: len(stream) // 2], "import", "-")
    assert came.code == 5
    assert came.lines["error"] == f"set {document['set']}: the stream ended early"
    assert re.match(r"parts/0000000\d\.(sealed|plain) breaks off after [\d,]+ of [\d,]+ bytes\nmissing: .* of 5 part\(s\)$", came.lines["why"])
    assert "what arrived whole is kept; outside, run the export again" in came.lines["hint"]
    assert came.lines["unchanged"] == "nothing was imported; what is served has not changed"
    after = linked.holdings()
    assert (after["served"], after["catalog"][0]) == (before["served"], before["catalog"][0])
    [arrivals] = linked.path("in/incoming").glob("*.arrivals")
    done = json.loads(arrivals.read_bytes())["done"]
    assert done == list(range(1, len(done) + 1)) != []
    folder = unpack(stream, linked.path("stick"))
    for number in done:  # they are here: what lies on the stick under their names is not even looked at
        next(folder.glob(f"parts/{number:08d}.*")).write_bytes(b"not read")
    done = linked.inside("import", "stick")
    assert done.code == 0, done.err
    assert ("library/wide:1b", 1, "quarantine") in linked.releases()
    linked.ok("in", "check")


def unpack(stream, medium):
    """Make a medium of a stream, by hand."""
    file = io.BytesIO(stream)
    folder = medium / "airlock" / file.read(64).split()[1].decode()
    for name in ("metadata", "parts"):
        (folder / name).mkdir(parents=True)
    while "end" not in (header := json.loads(file.read(64))):
        (folder / header["name"]).write_bytes(file.read(header["size"]))
    assert file.read() == b""
    return folder


def test_cut_then_sent_again(linked):
    """The reader goes away in the middle: the sender says so, and its next run sends the same set, of which the site takes what it lacks."""
    outside, _ = pipeline(linked, airlock(*EXPORT), ["sh", "-c", "head -c 2500000 > half"])
    assert outside.code == 5
    assert "error: the stream was cut: whoever read it has gone" in outside.err
    assert "the set was not sent to its end; the same command sends it once more, from its beginning" in outside.err
    assert "Traceback" not in outside.err
    assert linked.events("out")[-1]["verb"] == "set.start"
    set_id = linked.events("out")[-1]["subject"]["set"]
    assert linked.feed(linked.path("half").read_bytes(), "import", "-").code == 5
    # a medium that is asked for in between is a set of its own, and the other way round
    linked.path("stick").mkdir()
    other = linked.ok("out", "export", "wide:1b", "--to", "stick", "--recipient", "in/site.pub", "--part-size", "1MiB", "--json").json
    assert other["set"] != set_id
    _, document = sent(linked)
    assert document["set"] not in (set_id, other["set"]), "something was signed since"


def test_the_same_set_once_more(linked):
    pipeline(linked, airlock(*EXPORT), ["sh", "-c", "head -c 2500000 > half"])
    set_id = linked.events("out")[-1]["subject"]["set"]
    assert linked.feed(linked.path("half").read_bytes(), "import", "-").code == 5
    stream, document = sent(linked)
    assert (document["set"], document["continued"]) == (set_id, True)
    assert linked.events("out")[-1] == {**linked.events("out")[-1], "verb": "set.finish", "subject": {"set": set_id}}
    done = linked.feed(stream, "import", "-")
    assert f"set {set_id}: verified" in done.out
    assert sorted(path.name for path in linked.path("in/incoming").iterdir()) == []


def test_a_changed_source(linked):
    """The stream breaks off without its end; inside, nothing of that model stays."""
    with linked.path("wide.gguf").open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"changed")
    outside, came = pipeline(linked, airlock(*EXPORT), airlock(*IMPORT))
    assert outside.code == 3
    assert "no longer matches its pin" in outside.err
    assert came.code == 3
    assert "not what its statement says" in came.err
    assert "the stream ended early" in came.err
    assert [name for name, _, _ in linked.releases()] == ["library/tiny:1b", "library/tiny:2b"]
    assert [path for path in linked.path("in/incoming").iterdir() if path.suffix != ".arrivals"] == []
    linked.model("wide.gguf", 5, rows=40_000)
    stream, _ = sent(linked)
    assert linked.feed(stream, "import", "-").code == 0
    assert ("library/wide:1b", 1, "quarantine") in linked.releases()


def test_a_source_that_got_shorter(linked):
    """Found before anything is sent: the stream is empty."""
    os.truncate(linked.path("wide.gguf"), 1000)
    stream, done = linked.send(*EXPORT[4:])
    assert (stream, done.code) == (b"", 3)


def test_healed_on_the_way(linked):
    """Parity parts come last; what was damaged before them is healed without asking anybody."""
    stream, document = sent(linked, "--parity", "40%")
    assert (document["parts"], document["parity_parts"]) == (5, 2)
    data = bytearray(stream)
    for number in (2, 5):
        data[data.index(b'{"name":"parts/%08d' % number) + 200_000] ^= 1
    done = linked.feed(data, "import", "-")
    assert done.code == 0, done.err
    assert ("library/wide:1b", 1, "quarantine") in linked.releases()
    linked.ok("in", "check")


@pytest.mark.parametrize("side", ["outside", "inside"])
def test_killed(linked, side):
    """kill -9 at either end in the middle of a part: the other end says what happened, and the same commands complete."""
    before = linked.holdings()
    os.mkfifo(linked.path("gate"))
    with (
        started(linked, airlock(*EXPORT)) as sender,
        started(linked, ["sh", "-c", "head -c 3000000; cat gate; exec cat"], stdin=sender.stdout) as link,
        started(linked, airlock(*IMPORT), stdin=link.stdout) as receiver,
    ):
        sender.stdout.close()
        link.stdout.close()
        gate = os.open(linked.path("gate"), os.O_WRONLY)  # opens once three megabytes went by: both ends wait for more
        victim = sender if side == "outside" else receiver
        victim.send_signal(signal.SIGKILL)
        assert victim.wait(timeout=60) == -signal.SIGKILL
        os.close(gate)
        errors = [process.communicate(timeout=60)[1].decode() for process in (receiver, link)]
        if side == "outside":
            assert receiver.returncode == 5
            assert "the stream ended early" in errors[0]
        else:
            said = sender.stderr.read().decode()
            assert sender.wait(timeout=60) == 5
            assert "whoever read it has gone" in said
    assert linked.holdings()["served"] == before["served"]
    stream, document = sent(linked)
    assert document["continued"]
    done = linked.feed(stream, "import", "-")
    assert done.code == 0, done.err
    assert ("library/wide:1b", 1, "quarantine") in linked.releases()
    for home in ("out", "in"):
        assert not list(linked.path(home).glob("**/.airlock-*"))
    linked.ok("in", "check")


def test_a_tape(linked):
    """A label makes a medium of it: transfer sheet, custody, and the site knows it by name.  dd pads the last block with zeros."""
    stream, document = sent(linked, "--label", "TAPE-7")
    assert [each["label"] for each in document["media"]] == ["TAPE-7"]
    sheet = linked.path("out/sheets/TAPE-7.txt").read_text()
    assert document["set"] in sheet
    assert "NOT READ BACK" in sheet
    command = ["dd", f"of={linked.path('tape')}", "bs=64k", "conv=sync", "iflag=fullblock"]
    subprocess.run(command, input=stream, capture_output=True, check=True)
    tape = linked.path("tape").read_bytes()
    assert len(tape) % 65536 == 0
    assert tape != stream
    done = linked.feed(tape, "import", "-")
    assert done.code == 0, done.err
    for place, state in (("out", "written"), ("in", "read")):
        rows = linked.ok(place, "medium", "list", "--json").json
        assert [row["state"] for row in rows if row["label"] == "TAPE-7"] == [state]
    written, finished = linked.events("out")[-2:]
    assert (written["verb"], finished["verb"]) == ("medium.write", "set.finish")
    assert written["subject"]["read_back"] is False


def test_a_full_disk(linked):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            airlock(*EXPORT), cwd=linked.root, stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False
        )
    assert done.returncode == 5
    assert "the stream is full" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--to", "-", "--to", "usb", "--recipient", "in/site.pub"], "--to - goes alone"),
        (["export", "--to", "-", "--to", "-", "--recipient", "in/site.pub"], "--to - goes alone"),
        (["export", "--to", "-", "--media", "32G", "--recipient", "in/site.pub"], "a stream goes to one place"),
        (["export", "--to", "-", "--label", "A", "--label", "B", "--recipient", "in/site.pub"], "a stream goes to one place"),
    ],
)
def test_said_wrongly_outside(imported, words, message):
    before = imported.events("out")
    done = imported.outside(*words)
    assert (done.code, done.lines["error"]) == (2, message)
    assert imported.events("out") == before


def test_what_a_stream_cannot_do(imported):
    before = imported.events("out"), imported.events()
    for done in (imported.inside("import", "--plan", "-"), imported.outside("export", "--repair", "usb", "--to", "-")):
        assert done.code == 2
        assert done.lines["error"] in ("a stream can't be planned", "a repair goes on a medium")
    assert (imported.events("out"), imported.events()) == before


@pytest.mark.parametrize("media", [["-", "usb"], ["usb", "-"], ["-", "-"]])
def test_said_wrongly_inside(imported, media):
    before = imported.events()
    done = imported.inside("import", *media)
    assert (done.code, done.lines["error"]) == (2, "- goes alone")
    assert imported.events() == before


def test_terminals(imported):
    """A terminal is no link, at either end."""
    ours, theirs = pty.openpty()
    try:
        before = imported.events("out"), imported.events()
        done = subprocess.run(airlock(*EXPORT), cwd=imported.root, stdout=theirs, stderr=subprocess.PIPE, stdin=theirs, text=True, check=False)
        assert done.returncode == 2
        assert "the stream would go to the terminal" in done.stderr
        done = subprocess.run(airlock(*IMPORT), cwd=imported.root, stdin=theirs, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "a stream is expected on stdin, which is a terminal" in done.stderr
        assert (imported.events("out"), imported.events()) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_no_passphrase_and_no_terminal(imported):
    command = [word for word in IMPORT if word not in ("--passphrase-file", "passphrase")]
    with started(imported, airlock(*command), stdin=subprocess.PIPE, start_new_session=True) as process:
        _, err = process.communicate(imported.stream(), timeout=60)
    assert process.returncode == 2
    assert b"there is no terminal to ask at, and no file was named; stdin brings the set" in err


def test_memory_stays_flat(linked):
    """Ten times the model in the same memory, at either end."""

    def peak(shell, words):
        with started(linked, [sys.executable, "-c", MEASURE, "sh", "-c", shell, *airlock(*words)]) as process:
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return int(errors.split()[-1])

    used = []
    for name, rows in (("small", 40_000), ("large", 400_000)):
        linked.model(f"{name}.gguf", 6, rows=rows)
        linked.ok("out", "pin", f"{name}:1b", "--from", f"file:{name}.gguf")
        used.append((peak('exec "$0" "$@" > stream', [*EXPORT, "--parity", "10%", f"{name}:1b"]), peak('exec "$0" "$@" < stream', IMPORT)))
    assert linked.path("stream").stat().st_size > 50_000_000
    assert all(large < small * 1.25 for small, large in zip(*used, strict=True)), used
