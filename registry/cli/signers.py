"""Commands of those who hold keys: keys, the root of trust, signing elsewhere, withdrawal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.output import grouped, table
from registry.cli.settings import ActorCommand, AirlockCommand, AirlockGroup, Settings, pass_settings
from registry.cli.values import Threshold
from registry.content.reference import parse_selector
from registry.errors import NotFound, Usage
from registry.store.home import SITE
from registry.store.station import NumberedRelease
from registry.trust.drafts import Lacking
from registry.trust.keys import ALGORITHMS, public_from_json, public_to_json, short
from registry.trust.withdrawal import Severity, Withdrawal
from registry.workflow.holders import holder_of
from registry.workflow.keyring import ListedKey, import_key, list_keys, new_key, open_signer, parse_public_key, write_public_key
from registry.workflow.lifecycle import Moved, withdraw
from registry.workflow.preparing import prepare_release
from registry.workflow.root import ROLE_NAMES, RootState, add_key, remove_key, set_threshold, sign_root
from registry.workflow.signing import sign_request
from registry.workflow.withdraw import withdraw_release

__all__ = ["key_group", "release_group", "root_group", "sign_command", "withdraw_command"]

_file = click.Path(path_type=Path)
_role = click.Choice(list(ROLE_NAMES))
_holder = click.option("--holder", default="", metavar="TEXT", help="A note for this home who holds it: a role or team, such as 'pharmacy-ai'.")


@click.group("key", cls=AirlockGroup)
def key_group() -> None:
    """Make, import and show signing keys."""


def _key_json(key: ListedKey) -> dict[str, Any]:
    return {"name": key.name, "key": key.public.keyid, "holder": key.holder, "public": public_to_json(key.public)}


@key_group.command("new")
@click.argument("name")
@click.option("--algorithm", type=click.Choice(list(ALGORITHMS)), default="ed25519", show_default=True, help="What kind of key.")
@_holder
@pass_settings
def key_new_command(settings: Settings, name: str, *, algorithm: str, holder: str) -> None:
    r"""Make a signing key and keep it in this home's keystore.

    On a signer's own machine, where there is no home yet, this makes one.

    \b
    Example:
      airlock key new release-key --holder pharmacy-ai
    """
    settings.unchanged = "no key was made"
    passphrase = settings.passphrase() if settings.home.kind() else settings.new_passphrase()
    key = new_key(settings.home, name, algorithm, passphrase, holder)
    settings.output.result(_key_json(key), f"key     {key.public.keyid}\nname    {key.name}")
    settings.output.next_step(f"airlock key show {name} --to {name}.pub")


@key_group.command("import")
@click.argument("name")
@click.argument("pem", type=_file, metavar="FILE")
@click.option("--pem-passphrase-file", type=_file, metavar="FILE", help="Its first line opens the PEM file.")
@_holder
@pass_settings
def key_import_command(settings: Settings, name: str, pem: Path, *, pem_passphrase_file: Path | None, holder: str) -> None:
    r"""Take a private key over from a PEM file (PKCS #8) and keep it in this home's keystore.

    \b
    Example:
      airlock key import release-key old-key.pem
    """
    settings.unchanged = "no key was taken over"
    pem_passphrase = _first_line(pem_passphrase_file) if pem_passphrase_file else ""
    passphrase = settings.passphrase() if settings.home.kind() else settings.new_passphrase()
    key = import_key(settings.home, name, pem, passphrase, holder, pem_passphrase=pem_passphrase)
    settings.output.result(_key_json(key), f"key     {key.public.keyid}\nname    {key.name}")
    settings.output.next_step(f"airlock key show {name} --to {name}.pub")


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{path}: can't be read", why=str(error)) from error


@key_group.command("list")
@pass_settings
def key_list_command(settings: Settings) -> None:
    r"""List the signing keys of this home.

    \b
    Example:
      airlock key list
    """
    keys = list_keys(settings.home)
    rows = [(key.name, key.public.keyid, key.public.scheme, key.holder) for key in keys]
    settings.output.result([_key_json(key) for key in keys], table(("NAME", "KEY", "SCHEME", "HOLDER"), rows))


@key_group.command("show")
@click.argument("name")
@click.option("--to", "target", type=_file, metavar="FILE", help="Write the public key to a file that airlock root add-key reads.")
@pass_settings
def key_show_command(settings: Settings, name: str, *, target: Path | None) -> None:
    r"""Show the public half of a key of this home, or of one on a token by its pkcs11: URI; --to writes it to a file for the station.

    \b
    Example:
      airlock key show release-key --to release-key.pub
    """
    settings.unchanged = "nothing was written"
    if name.startswith("pkcs11:"):
        on_token = open_signer(settings.home, name, settings.passphrase, settings.pin).public_key
        key: ListedKey | None = ListedKey("on a token", public_from_json(public_to_json(on_token), what="the token's key"), "")
    else:
        key = next((key for key in list_keys(settings.home) if key.name == name), None)
    if key is None:
        raise NotFound(f"{name}: no key of that name here", hint="airlock key list shows them")
    if target is not None:
        target.write_bytes(write_public_key(key.public))
    text = f"key     {grouped(key.public.keyid)}\nname    {key.name}\nscheme  {key.public.scheme}\nholder  {key.holder or '-'}"
    settings.output.result(_key_json(key), text)
    if target is not None:
        settings.output.next_step(f"airlock root add-key {target} --role ROLE   # at the station, after comparing the key id by phone")


@click.group("root", cls=AirlockGroup)
def root_group() -> None:
    """Say which keys count, and how many of them."""


def _tell_root(settings: Settings, state: RootState) -> None:
    home = settings.home
    roles = {name: state.roles[tuf[0]] for name, tuf in ROLE_NAMES.items()}
    document = {
        "version": state.version,
        "fingerprint": state.fingerprint,
        "draft": state.draft_version,
        "roles": {
            name: {"threshold": role.threshold, "keys": [{"key": key.keyid, "holder": holder_of(home, key.keyid)} for key in role.keys]}
            for name, role in roles.items()
        },
        "missing": [_lacking_json(each) for each in state.missing],
    }
    lines = [f"root         {state.version or 'none yet'}", f"fingerprint  {grouped(state.fingerprint) or '-'}"]
    if state.draft_version is not None:
        lines.append(f"draft        {state.draft_version}, waiting for signatures; it says:")
    for name, role in roles.items():
        keys = ", ".join(short(key.keyid) + (f' ("{holder}")' if (holder := holder_of(home, key.keyid)) else "") for key in role.keys)
        lines.append(f"{name:<12} {role.threshold} of {len(role.keys)}: {keys}")
    lines += [f"missing      {each.missing} {'signature' if each.could else 'key'}(s) for {each.role}" for each in state.missing]
    settings.output.result(document, "\n".join(lines))
    if state.draft_version is None:
        settings.output.next_step("airlock export --to MEDIUM --recipient site.pub   # carries the new root to the sites")
    elif any(not each.could for each in state.missing):
        settings.output.next_step("airlock root add-key FILE --role ROLE")
    else:
        settings.output.next_step("airlock root sign", "airlock root sign MEDIUM   # for signers elsewhere, who run: airlock sign MEDIUM --key NAME")


def _lacking_json(each: Lacking) -> dict[str, Any]:
    return {"role": each.role, "needed": each.needed, "have": list(each.have), "missing": each.missing, "could": list(each.could)}


@root_group.command("add-key")
@click.argument("public", type=_file, metavar="FILE")
@click.option("--role", type=_role, required=True, help="What the key may sign.")
@_holder
@pass_settings
def root_add_key_command(settings: Settings, public: Path, *, role: str, holder: str) -> None:
    r"""Draft a root in which one more key counts.

    \b
    Example:
      airlock root add-key release-key.pub --role release --holder pharmacy-ai
    """
    settings.unchanged = "the root of trust has not changed"
    key = parse_public_key(public)
    _tell_root(settings, add_key(settings.home, key, role, holder, settings.passphrase, now=datetime.now(UTC)))


@root_group.command("remove-key")
@click.argument("key")
@click.option("--role", type=_role, required=True, help="What the key may no longer sign.")
@pass_settings
def root_remove_key_command(settings: Settings, key: str, *, role: str) -> None:
    r"""Draft a root in which a key no longer counts: somebody left, or lost it.

    \b
    Example:
      airlock root remove-key 9f2c41d0 --role release
    """
    settings.unchanged = "the root of trust has not changed"
    _tell_root(settings, remove_key(settings.home, key, role, settings.passphrase, now=datetime.now(UTC)))


@root_group.command("set-threshold")
@click.argument("threshold", type=Threshold(), metavar="ROLE=N")
@pass_settings
def root_set_threshold_command(settings: Settings, threshold: tuple[str, int]) -> None:
    r"""Draft a root in which N keys of a role must sign.

    \b
    Example:
      airlock root set-threshold release=2
    """
    settings.unchanged = "the root of trust has not changed"
    _tell_root(settings, set_threshold(settings.home, *threshold, settings.passphrase, now=datetime.now(UTC)))


@root_group.command("sign")
@click.argument("medium", type=_file, metavar="[DIR]", required=False)
@pass_settings
def root_sign_command(settings: Settings, medium: Path | None) -> None:
    r"""Sign the drafted root with the root keys of this station; with DIR also ask signers elsewhere, and take their signatures over.

    \b
    Examples:
      airlock root sign
      airlock root sign /media/usb
    """
    settings.unchanged = "the root of trust has not changed"

    def confirm() -> None:
        settings.confirm("Sign the drafted root? Sites will follow it, whatever it says.")

    _tell_root(settings, sign_root(settings.home, medium, settings.passphrase, confirm, now=datetime.now(UTC)))


@click.group("release", cls=AirlockGroup)
def release_group() -> None:
    """Gather the release signers' signatures."""


@release_group.command("prepare")
@click.argument("medium", type=_file, metavar="DIR")
@pass_settings
def release_prepare_command(settings: Settings, medium: Path) -> None:
    r"""Write the list of everything pinned to a medium for the release signers; take over the signatures that lie there.

    The folder names models in clear: it is for signers, not for the way to a site.

    \b
    Example:
      airlock release prepare /media/usb
    """
    settings.unchanged = "no list was signed or exported"
    done = prepare_release(settings.home, medium, settings.passphrase, now=datetime.now(UTC))
    document = {
        "folder": str(done.folder),
        "version": done.version,
        "releases": [{"name": str(each.pin.reference), "release": each.numbered.number, "manifest": each.pin.manifest} for each in done.releases],
        "missing": [_lacking_json(each) for each in done.missing],
    }
    rows = [(str(each.pin.reference), str(each.numbered.number), "new" if each.new else "as before") for each in done.releases]
    lacks = [f"missing  {each.missing} of {each.needed} signature(s) of {each.role}" for each in done.missing]
    lines = [table(("NAME", "RELEASE", ""), rows), "", f"list     version {done.version}", f"folder   {done.folder}", *(lacks or ["complete"])]
    settings.output.result(document, "\n".join(lines))
    if done.missing:
        settings.output.next_step(f"airlock sign {medium} --key NAME   # the signers", f"airlock release prepare {medium}   # here, afterwards")
    else:
        settings.output.next_step("airlock export --to MEDIUM --recipient site.pub")


@click.command("sign", cls=AirlockCommand)
@click.argument("medium", type=_file, metavar="DIR")
@click.option("--key", "name", required=True, metavar="NAME", help="Which key of this home signs, or the pkcs11: URI of a key on a token.")
@click.option("--replaces-draft", is_flag=True, help="For a root: an earlier draft of this number was abandoned unpublished.")
@pass_settings
def sign_command(settings: Settings, medium: Path, *, name: str, replaces_draft: bool) -> None:
    r"""Sign what a station asks for on a medium, after reading what it changes since the last time.

    Every statement's digest is computed again here, and one version number is signed once.

    \b
    Examples:
      airlock sign /media/usb --key release-key
      airlock sign /media/usb --key 'pkcs11:token=airlock;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'
    """
    settings.unchanged = "nothing was signed"
    key = open_signer(settings.home, name, settings.passphrase, settings.pin)

    def confirm(difference: list[str]) -> None:
        for sentence in difference:
            settings.output.note(sentence)
        settings.confirm("Sign this?")

    with settings.home.locked("sign"):
        done = sign_request(settings.home, medium, key, confirm, replaces_draft=replaces_draft)
    document = [{"role": each.role, "version": each.version, "difference": list(each.difference), "missing": each.missing} for each in done]
    lines = [
        f"signed  {each.role} version {each.version}; " + (f"{each.missing} more signature(s) needed" if each.missing else "enough have signed")
        for each in done
    ]
    settings.output.result(document, "\n".join(lines))
    settings.output.next_step(
        *(
            f"airlock root sign {medium}   # at the station" if each.role == "root" else f"airlock release prepare {medium}   # at the station"
            for each in done
        )
    )


@click.command("withdraw", cls=ActorCommand)
@click.argument("name")
@click.option("--why", default="", metavar="TEXT", help="One sentence. It travels in clear: don't name the model or people in it.")
@click.option(
    "--severity", type=click.Choice([str(each) for each in Severity]), default=str(Severity.STOP), show_default=True, help="How urgent it is."
)
@pass_settings
def withdraw_command(settings: Settings, name: str, *, why: str, severity: str) -> None:
    r"""Say that a release should no longer be used.

    Outside: the next export carries it; stop ends serving at import, no-new-promotion waits for a person.
    Inside: stops serving a release here at once.

    \b
    Example:
      airlock withdraw library/gemma3:270m@1 --why 'Answers dosage questions wrongly.'
    """
    selector = parse_selector(name)
    now = datetime.now(UTC)
    if settings.home.kind() == SITE:
        settings.unchanged = "nothing was withdrawn; what is served has not changed"

        def confirm_here(move: Moved) -> None:
            settings.confirm(f"Stop serving {move.release.name} for ever?")

        moved = withdraw(settings.home, selector, why, settings.credentials, confirm_here, now=now)
        document = {"name": str(moved.release.reference), "release": moved.release.number, "state": moved.state, "changed": moved.changed}
        settings.output.result(
            document, f"withdrawn  {moved.release.name}" if moved.changed else f"nothing to do: {moved.release.name} is withdrawn already"
        )
        return
    settings.unchanged = "nothing was withdrawn"
    if settings.actor:
        raise Usage("--actor is for a site registry", why="a station's withdrawals are signed by its release signers", hint="leave --actor out")

    def confirm(release: NumberedRelease) -> None:
        settings.confirm(f"Withdraw {release.reference}-r{release.number} ({severity}) for every site, for ever?")

    release = withdraw_release(settings.home, selector, Withdrawal(Severity(severity), why), settings.passphrase, confirm, now=now)
    document = {"name": str(release.reference), "release": release.number, "severity": severity, "manifest": release.manifest}
    settings.output.result(
        document, f"withdrawn  {release.reference}-r{release.number}  {severity}\nIt reaches a site with the next set that the site imports."
    )
    settings.output.next_step("airlock export --metadata-only --to MEDIUM --recipient site.pub")
