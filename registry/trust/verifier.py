"""The one place that decides whether a statement may be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass
from fnmatch import fnmatchcase

from tuf.api.metadata import TargetFile

from registry.content.digest import Digest, digest_of
from registry.content.reference import Reference
from registry.errors import TrustRefused
from registry.trust.keys import short
from registry.trust.roles import target_path
from registry.trust.statement import Release, parse_statement
from registry.trust.withdrawal import withdrawal_of

__all__ = ["VerifiedRelease", "verify_release"]

_DECIDED_HERE = object()


@dataclass(frozen=True, slots=True)
class VerifiedRelease:
    """A release that trusted release signers vouch for.  Only :func:`verify_release` makes one."""

    release: Release
    statement: bytes
    decided: InitVar[object]

    def __post_init__(self, decided: object) -> None:
        if decided is not _DECIDED_HERE:
            raise TypeError("a VerifiedRelease comes from verify_release and from nowhere else")

    @property
    def digest(self) -> Digest:
        """The statement's digest."""
        return digest_of(self.statement)


def verify_release(
    statement: bytes,
    *,
    publisher: str,
    targets: Mapping[str, TargetFile],
    namespaces: Iterable[str],
    site: str,
    known: Callable[[Reference, int], Digest | None],
) -> VerifiedRelease:
    """Return the release that ``statement`` vouches for, or refuse it (step 5 of the order of verification).

    Args:
        statement: untrusted bytes.
        publisher: id of the publisher whose trusted ``targets`` these are.
        targets: the newest trusted list: TUF target path to target.
        namespaces: repository patterns (``clinical/*``) this publisher may use here.
        site: this site's id.
        known: the manifest digest that this site has on record for a reference and a release number, whoever published it.

    Raises:
        TrustRefused: not in the list, withdrawn, by another publisher, outside its namespaces, for another site, or one release with two contents.
        FormatRefused: not a statement.
    """
    digest = digest_of(statement)
    target = targets.get(target_path(digest))
    what = f"statement {digest[7:19]}…"
    if target is None or target.length != len(statement):
        raise TrustRefused(
            f"{what}: not in the publisher's signed list",
            why="the newest trusted list of this publisher does not name it",
            hint="ask the publisher for a fresh export",
        )
    release = parse_statement(statement, what=what)
    withdrawal = withdrawal_of(target)
    if withdrawal is not None:
        raise TrustRefused(
            f"{release.name}: withdrawn by its publisher ({withdrawal.severity})",
            why=withdrawal.why,
            hint="import a newer release of it, if there is one",
        )
    if release.publisher != publisher:
        raise TrustRefused(f"{release.name}: by another publisher", why=f"expected {short(publisher)}, found {short(release.publisher)}")
    patterns = tuple(namespaces)
    if not any(fnmatchcase(release.reference.repository, pattern) for pattern in patterns):
        raise TrustRefused(
            f"{release.name}: outside of what this publisher may publish here",
            why=f"allowed: {', '.join(patterns)}",
            hint="ask the publisher for another name, or trust it for more with --namespace",
        )
    if release.sites and site not in release.sites:
        raise TrustRefused(f"{release.name}: not meant for this site", why=f"this site is {short(site)}")
    recorded = known(release.reference, release.number)
    if recorded is not None and recorded != release.manifest.digest:
        raise TrustRefused(
            f"{release.name}: a second content for a release that is on record",
            why=f"on record {recorded}\nfound     {release.manifest.digest}",
            hint="a release never changes; ask the publisher by phone how this could happen",
        )
    return VerifiedRelease(release, statement, _DECIDED_HERE)
