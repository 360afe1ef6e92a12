"""Signing elsewhere: what a station asks signers to sign, and how a signer's machine answers.

The folder ``airlock-signing`` on whatever is carried between them holds, per role, the draft with the signatures so far, the whole chain of roots,
and for a list of releases every statement.  The signer's machine trusts none of it: it recomputes every digest, compares with the last list *it*
signed, says the difference in plain words, and signs one version number once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata

from registry.content.digest import digest_of
from registry.errors import FormatRefused, MediumDamaged, NotFound, SignatureRefused, TrustRefused
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.folders import make_unlinked
from registry.store.home import Home
from registry.trust.drafts import lacking, same_content, sign_draft
from registry.trust.keys import short
from registry.trust.refresh import CAPS, MAX_ROOTS, check_roots, fingerprint
from registry.trust.roles import RoleKeys, roles_of, target_path
from registry.trust.statement import MAX_STATEMENT_BYTES, parse_statement
from registry.trust.withdrawal import withdrawals_in

__all__ = ["FOLDER", "Request", "Signed", "drafts_on", "sign_request", "write_request"]

FOLDER = "airlock-signing"
_SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Request:
    """What a station asks to be signed: one draft, the chain of roots, the statements it names (none for a root)."""

    role: str
    draft: bytes
    roots: tuple[bytes, ...]
    statements: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signer's machine found and did: the sentences of the difference, and how many signatures are still missing."""

    role: str
    version: int
    difference: tuple[str, ...]
    missing: int


def write_request(medium: Path, request: Request) -> Path:
    """Write a request; signatures that lie there on the same draft must have been merged into it before.  Return the folder."""
    folder = medium / FOLDER / request.role
    with storage_errors(f"the medium {medium}", kind=MediumDamaged):
        make_unlinked(medium / FOLDER, folder, folder / "statements")
        for version, root in enumerate(request.roots, start=1):
            replace_file(folder / f"{version}.root.json", root)
        for statement in request.statements:
            replace_file(folder / "statements" / target_path(digest_of(statement)), statement)
        replace_file(folder / "draft.json", request.draft)  # last: a request that can be seen is whole
    return folder


def drafts_on(medium: Path, role: str) -> list[bytes]:
    """Return the draft of a role that lies on a medium, if there is one."""
    path = medium / FOLDER / role / "draft.json"
    try:
        return [read_limited(path, CAPS[role], what=str(path))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def sign_request(home: Home, medium: Path, signer: Signer, confirm: Callable[[list[str]], None], *, replaces_draft: bool = False) -> list[Signed]:
    """Sign every request on ``medium`` that this key may sign.

    Args:
        home: the signer's; it keeps the last list this home signed of each publisher and role.
        medium: where the requests lie.
        signer: the key.
        confirm: shown the difference in plain words before anything is signed; raises to stop.
        replaces_draft: an earlier draft of a root with this number was abandoned before it was published.  Root numbers have no gaps, so a changed
            draft keeps its number; a list of releases never does, and is never signed twice.

    Raises:
        NotFound: there is no request here.
        SignatureRefused: this key speaks for none of the roles, or one version number would be signed twice.
        TrustRefused: the chain of roots doesn't hold, a statement vanished, or the publisher is another one.
        FormatRefused: a draft or a statement is not what it claims to be.
    """
    folders = [folder for role in ("root", "targets") if (folder := medium / FOLDER / role).joinpath("draft.json").is_file()]
    if not folders:
        raise NotFound(
            f"{medium}: nothing waits to be signed here", hint="the station writes it: airlock release prepare MEDIUM, or airlock root sign MEDIUM"
        )
    done, refusals = [], []
    for folder in folders:
        request = _read(folder)
        demands = _demands(request)
        keyids = {key.keyid for each in demands for key in each.keys}
        if signer.public_key.keyid not in keyids:
            refusals.append(f"{request.role}: {', '.join(map(short, sorted(keyids)))}")
            continue
        before = _last_signed(home, request, replaces_draft=replaces_draft)
        difference = list(_sentences(request, before))
        confirm(difference)
        done.append(_sign(home, folder, request, signer, tuple(difference)))
    if not done:
        raise SignatureRefused(
            f"key {short(signer.public_key.keyid)} may sign none of this",
            why="\n".join(refusals),
            hint="airlock key list shows the keys of this home",
        )
    return done


def _read(folder: Path) -> Request:
    role = folder.name
    with storage_errors(f"the medium {folder}", kind=MediumDamaged):
        draft = read_limited(folder / "draft.json", CAPS[role], what=f"{role} draft")
        roots: list[bytes] = []
        while len(roots) < MAX_ROOTS and (path := folder / f"{len(roots) + 1}.root.json").is_file():
            roots.append(read_limited(path, CAPS["root"], what=path.name))
        signed = _content(draft, role)
        statements = []
        if role == "targets":
            for path in signed.targets:
                file = folder / "statements" / path
                if not file.is_file():
                    raise FormatRefused(f"the draft names a statement that is not here: {path[:12]}…", hint="ask the station to prepare again")
                data = read_limited(file, MAX_STATEMENT_BYTES, what=file.name)
                if target_path(digest_of(data)) != path or len(data) != signed.targets[path].length:
                    raise FormatRefused(f"statement {path[:12]}… is not what the draft names", why=f"its digest is {digest_of(data)}")
                statements.append(data)
    return Request(role, draft, tuple(roots), tuple(statements))


def _content(draft: bytes, role: str) -> Any:
    signed = Metadata[Any].from_bytes(draft).signed if same_content(draft, draft) else None
    if signed is None or signed.type != role:
        raise FormatRefused(f"the draft is not {role} metadata")
    return signed


def _demands(request: Request) -> list[RoleKeys]:
    if request.roots:
        check_roots(request.roots)
    if request.role == "root":
        before = [roles_of(request.roots[-1])["root"]] if request.roots else []
        return [roles_of(request.draft)["root"], *before]
    if not request.roots:
        raise FormatRefused("there is no root beside the draft", hint="ask the station to prepare again")
    return [roles_of(request.roots[-1])[request.role]]


def _sign(home: Home, folder: Path, request: Request, signer: Signer, difference: tuple[str, ...]) -> Signed:
    draft = sign_draft(request.draft, signer)
    kept = _kept(home, request)
    with storage_errors(f"the home {home.root}"):
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(kept, draft, mode=0o600)  # first what must never be forgotten, then what others wait for
    with storage_errors(f"the medium {folder}", kind=MediumDamaged):
        replace_file(folder / "draft.json", draft)
    missing = max(lacking(draft, request.role, each).missing for each in _demands(request))
    return Signed(request.role, _content(draft, request.role).version, difference, missing)


def _kept(home: Home, request: Request) -> Path:
    publisher = fingerprint(request.roots[0]) if request.roots else "new"
    return home.root / _SIGNED / f"{publisher}.{request.role}.json"


def _last_signed(home: Home, request: Request, *, replaces_draft: bool) -> bytes | None:
    """Return the newest draft that was signed here for this publisher and role, unless this one would contradict it."""
    path = _kept(home, request)
    try:
        before = read_limited(path, max(CAPS.values()), what=str(path))
    except FileNotFoundError:
        return None
    last, content = Metadata[Any].from_bytes(before).signed, _content(request.draft, request.role)
    if content.version <= last.version and last != content:
        if request.role == "root" and replaces_draft and content.version == last.version:
            return before
        hint = "ask the station to prepare again: it takes a new number"
        raise SignatureRefused(
            f"{request.role} version {content.version} was signed here before, with another content",
            why=f"the newest signed here is version {last.version}; one number with two contents would let somebody hide one of them",
            hint="if that draft was never published: the same command with --replaces-draft" if request.role == "root" else hint,
        )
    return before


def _sentences(request: Request, before: bytes | None) -> Iterator[str]:
    content = Metadata[Any].from_bytes(request.draft).signed
    last = Metadata[Any].from_bytes(before).signed if before else None
    since = f"since version {last.version}, which was signed here" if last else "nothing was signed here before"
    yield f"{request.role} version {content.version} ({since})"
    if request.role == "root":
        yield from _root_difference(request)
        return
    vanished = set(last.targets) - set(content.targets) if last else set()
    if vanished:
        raise TrustRefused(
            f"{len(vanished)} statement(s) vanished from the list", why="a publisher withdraws by saying so", hint="do not sign; ask why"
        )
    withdrawn = withdrawals_in(content.targets)
    withdrawn_before = withdrawals_in(last.targets) if last else {}
    for data in request.statements:
        path = target_path(digest_of(data))
        release = parse_statement(data, what=f"statement {path[:12]}…")
        if last is None or path not in last.targets:
            yield f"added      {release.name}  {release.manifest.digest}  from {release.source}"
        if path in withdrawn and path not in withdrawn_before:
            yield f"withdrawn  {release.name}  {withdrawn[path].severity}: {withdrawn[path].why}"


def _root_difference(request: Request) -> Iterator[str]:
    after = roles_of(request.draft)
    before = roles_of(request.roots[-1]) if request.roots else {}
    for role, keys in after.items():
        old = before.get(role, RoleKeys([], 0))
        old_ids, new_ids = {key.keyid for key in old.keys}, {key.keyid for key in keys.keys}
        yield from (f"added      key {short(keyid)} for {role}" for keyid in sorted(new_ids - old_ids))
        yield from (f"removed    key {short(keyid)} for {role}" for keyid in sorted(old_ids - new_ids))
        if keys.threshold != old.threshold:
            yield f"threshold  {role}: {keys.threshold} of {len(keys.keys)} instead of {old.threshold}"
