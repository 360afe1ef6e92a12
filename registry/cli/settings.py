"""The global options: understood before and after the command."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.output import Bars, Output
from registry.errors import Usage
from registry.store.home import Home
from registry.workflow.progress import Progress

if TYPE_CHECKING:
    from registry.workflow.actor import Credentials

__all__ = ["ActorCommand", "AirlockCommand", "AirlockGroup", "Settings", "pass_settings"]

_DEFAULT_HOME = "~/.airlock"


@dataclass(slots=True)
class Settings:
    """What the global options say; ``unchanged`` is the sentence a refusal of the running command ends with.

    ``stdin_taken`` says that a set comes in there, so that a passphrase is asked for at the terminal all the same.
    """

    home_option: str = ""
    json: bool = False
    yes: bool = False
    quiet: bool = False
    passphrase_file: str = ""
    actor: str = ""
    actor_passphrase_file: str = ""
    unchanged: str = ""
    stdin_taken: bool = False

    @property
    def home(self) -> Home:
        """The home: ``--home``, else ``AIRLOCK_HOME``, else ``~/.airlock``."""
        return Home(Path(self.home_option or os.environ.get("AIRLOCK_HOME") or _DEFAULT_HOME).expanduser())

    @property
    def output(self) -> Output:
        """Where results and messages go."""
        return Output(json=self.json, quiet=self.quiet)

    @property
    def progress(self) -> Progress:
        """What shows that long work goes on."""
        return Bars(self.output)

    def passphrase(self) -> str:
        """Return the passphrase of an existing keystore, from the file or the terminal."""
        return self._from_file(self._file_name()) or self._ask("Passphrase: ")

    @property
    def credentials(self) -> Credentials:
        """How a site is opened: with the key of ``--actor``, else of ``AIRLOCK_ACTOR``, else with the one in the site's keystore."""
        from registry.workflow.actor import Credentials, own_key  # noqa: PLC0415 - brings keys, TUF and SQLite, for which --version shouldn't wait

        where = self.actor or os.environ.get("AIRLOCK_ACTOR", "")
        return Credentials(self.passphrase, own_key(where, self._actor_passphrase, self.pin) if where else None)

    def new_passphrase(self) -> str:
        """Return the passphrase of a keystore to be made; at a terminal it is typed twice."""
        from_file = self._from_file(self._file_name())
        if from_file:
            return from_file
        first = self._ask("New passphrase (it protects every private key of this home): ")
        if not first or first != self._ask("The same again: "):
            raise Usage("the two passphrases differ or are empty", hint="run the same command again")
        return first

    def pin(self, token: str) -> str:
        """Return the PIN of a token; a token is asked once, because it locks after a few wrong ones."""
        if not self._has_terminal():
            raise Usage(
                f"the PIN of token {token!r} is needed",
                why="there is no terminal to ask at, and the URI names no file",
                hint="name a file whose first line is the PIN in the URI: …?pin-source=file:/path",
            )
        return getpass.getpass(f"PIN of {token}: ", sys.stderr)

    def has_passphrase_file(self) -> bool:
        """Tell whether a passphrase file was named."""
        return bool(self._file_name())

    @property
    def asks(self) -> bool:
        """Whether somebody sits at a terminal who can be asked."""
        return not self.yes and not self.json and sys.stdin.isatty()

    def confirm(self, question: str) -> None:
        """Ask before an act that others feel; ``--yes`` and scripts without a terminal are not asked."""
        if self.asks and not click.confirm(question, err=True):
            raise Usage("stopped: the answer was no")

    def _file_name(self) -> str:
        return self.passphrase_file or os.environ.get("AIRLOCK_PASSPHRASE_FILE", "")

    def _actor_passphrase(self) -> str:
        name = self.actor_passphrase_file or os.environ.get("AIRLOCK_ACTOR_PASSPHRASE_FILE", "")
        return self._from_file(name) or self._ask("Passphrase of your own key: ", "--actor-passphrase-file FILE or AIRLOCK_ACTOR_PASSPHRASE_FILE")

    def _from_file(self, name: str) -> str:
        if not name:
            return ""
        try:
            with Path(name).open(encoding="utf-8") as stream:
                line = stream.readline(64 << 10).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"{name}: the passphrase file can't be read", why=str(error)) from error
        if not line:
            raise Usage(f"{name}: the passphrase file's first line is empty")
        return line

    def _ask(self, prompt: str, options: str = "--passphrase-file FILE or AIRLOCK_PASSPHRASE_FILE") -> str:
        if not self._has_terminal():
            raise Usage(
                "a passphrase is needed",
                why="there is no terminal to ask at, and no file was named" + ("; stdin brings the set" if self.stdin_taken else ""),
                hint=f"name a file whose first line is the passphrase: {options}",
            )
        return getpass.getpass(prompt, sys.stderr)

    def _has_terminal(self) -> bool:
        """Tell whether somebody can be asked for a secret: getpass asks at ``/dev/tty``, whatever stdin is."""
        if not self.stdin_taken:
            return sys.stdin.isatty()
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        del parameter
        if value:
            setattr(context.ensure_object(Settings), name, value)

    return callback


def _option(*names: str, keep: str, **rest: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_keep(keep), is_eager=True, **rest)


def _global_options() -> list[click.Option]:
    return [
        _option("--home", keep="home_option", metavar="DIR", help="The home to work in.  [env: AIRLOCK_HOME; default: ~/.airlock]"),
        _option("--json", keep="json", is_flag=True, help="One JSON document on stdout; messages on stderr."),
        _option("--yes", keep="yes", is_flag=True, help="Don't ask before acting."),
        _option("--quiet", keep="quiet", is_flag=True, help="No bars and no notes."),
        _option(
            "--passphrase-file",
            keep="passphrase_file",
            metavar="FILE",
            help="Its first line opens the keystore.  [env: AIRLOCK_PASSPHRASE_FILE]",
        ),
    ]


def _actor_options() -> list[click.Option]:
    return [
        _option(
            "--actor", keep="actor", metavar="DIR[:NAME]", help="Act with your own key: from your own home, or a pkcs11: URI.  [env: AIRLOCK_ACTOR]"
        ),
        _option(
            "--actor-passphrase-file",
            keep="actor_passphrase_file",
            metavar="FILE",
            help="Its first line opens that home's keystore.  [env: AIRLOCK_ACTOR_PASSPHRASE_FILE]",
        ),
    ]


def _keep_lines(text: str | None) -> str | None:
    """Turn the two characters that a raw docstring holds into the backspace by which click leaves a paragraph's lines as they are."""
    return text and text.replace("\\b", "\b")


class AirlockCommand(click.Command):
    """A command that also takes the global options; its help text keeps its examples' lines."""

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.params = [*self.params, *_global_options()]
        self.help = _keep_lines(self.help)


class ActorCommand(AirlockCommand):
    """A command at a site that a person answers for, by a key of their own or by that of the site."""

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.params = [*self.params, *_actor_options()]


class AirlockGroup(click.Group):
    """A group whose commands take the global options, as it does itself."""

    command_class = AirlockCommand
    group_class = type

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.params = [*self.params, *_global_options()]
        self.help = _keep_lines(self.help)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the journey, not of the alphabet."""
        del ctx
        return list(self.commands)


pass_settings = click.make_pass_decorator(Settings, ensure=True)
