"""At a terminal: the passphrase is asked for, typed twice when it is new, and acts are confirmed."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("airlock"))


def at_a_terminal(world, command, *answers):
    """Run a command whose stdin is a terminal; each answer is typed when its question has come."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK")}
    said = b""
    with subprocess.Popen(
        [PROGRAM, *command], cwd=world.root, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        for question, answer in answers:
            while question.encode() not in said:
                more = os.read(process.stderr.fileno(), 4096)
                assert more, said
                said += more
            said = said.partition(question.encode())[2]
            os.write(ours, answer.encode() + b"\n")
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return process.returncode, out.decode(), (said + err).decode()


def test_passphrase(serving):
    code, out, err = at_a_terminal(serving, ["--home", "in", "import", "usb"], ("Passphrase: ", serving.passphrase))
    assert code == 0, err
    assert "nothing to do" in out
    assert serving.passphrase not in out + err
    code, _, err = at_a_terminal(serving, ["--home", "in", "import", "usb"], ("Passphrase: ", "wrong"))
    assert code == 3
    assert "the passphrase is wrong" in err


def test_passphrase_while_stdin_brings_a_set(offered):
    """It is typed at the terminal all the same."""
    ours, theirs = pty.openpty()
    offered.path("stream").write_bytes(offered.stream("stick"))

    def take_the_terminal():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with (
        offered.path("stream").open("rb") as stream,
        subprocess.Popen(
            [PROGRAM, "--home", "in", "import", "-"],
            cwd=offered.root,
            stdin=stream,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=take_the_terminal,  # noqa: PLW1509 - no other thread runs here
        ) as process,
    ):
        said = b""
        while b"Passphrase: " not in said:
            more = os.read(process.stderr.fileno(), 4096)
            assert more, said
            said += more
        os.write(ours, offered.passphrase.encode() + b"\n")
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert b"quarantine  library/big:1b-r1" in out


def test_new_passphrase_twice(make_world):
    world = make_world("empty")
    code, _, err = at_a_terminal(world, ["--home", "in", "site", "init"], ("New passphrase", "first"), ("The same again: ", "second"))
    assert code == 2
    assert "the two passphrases differ" in err
    assert not world.path("in/home.json").exists()
    code, out, err = at_a_terminal(
        world, ["--home", "in", "site", "init"], ("New passphrase", world.passphrase), ("The same again: ", world.passphrase)
    )
    assert code == 0, err
    assert "site.pub" in out


def test_confirmation(serving):
    command = ["--home", "in", "--passphrase-file", "passphrase", "promote", "tiny:2b"]
    before = serving.holdings()
    code, _, err = at_a_terminal(serving, command, ("Let library/tiny:2b serve library/tiny:2b-r2", "n"))
    assert code == 2
    assert "stopped: the answer was no" in err
    assert "nothing was promoted; what is served has not changed" in err
    assert serving.holdings() == before
    code, out, err = at_a_terminal(serving, [*command, "--yes"])
    assert code == 0, err
    assert "promoted  library/tiny:2b-r2" in out
    code, out, err = at_a_terminal(serving, ["--home", "in", "--passphrase-file", "passphrase", "rollback", "tiny:1b"])
    assert code == 3


def test_retiring_a_medium_is_confirmed(serving):
    serving.ok("in", "medium", "receive", "STICK-17")
    before = serving.events()
    command = ["--home", "in", "--passphrase-file", "passphrase", "medium", "retire", "STICK-17", "--method", "destroy", "--without-receipt"]
    question = "Retire STICK-17 (not read here yet), handed over, as destroy (shredded)?"
    code, _, err = at_a_terminal(serving, command, (question, "n"))
    assert code == 2
    assert err.endswith("airlock: no medium was retired\n")
    assert serving.events() == before
    code, out, err = at_a_terminal(serving, command, (question, "y"))
    assert code == 0, err
    assert "retired  STICK-17" in out
