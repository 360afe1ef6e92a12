"""Which media a home knows, which of them a label means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.errors import NotFound, Usage
from registry.media.labels import parse_medium_label
from registry.store.custody import Medium
from registry.store.site import Site
from registry.store.station import Station
from registry.workflow.custody_notes import Noted

__all__ = ["Tracked", "chosen", "labelled", "of_set", "tracked"]

_SHORTEST_ENDING = 4


@dataclass(frozen=True, slots=True)
class Tracked:
    """A medium, the sites its set was sealed to, those of them where the set is complete, and its hand-overs.

    At a station the receipts say what is complete, at a site its own log; a site knows of no other site.
    """

    medium: Medium
    sites: tuple[str, ...]
    arrived: tuple[str, ...]
    hand_overs: tuple[Noted, ...] = ()

    @property
    def awaited(self) -> tuple[str, ...]:
        """The sites from which nobody has heard yet that the set is complete."""
        return tuple(site for site in self.sites if site not in self.arrived)

    @property
    def needed(self) -> bool:
        """Whether the medium may still be needed: not every site has the set, or nobody knows for whom it was."""
        return not self.sites or bool(self.awaited)


def tracked(log: Station | Site) -> list[Tracked]:
    """Return every medium in a log, with the sites that matter for it."""
    if isinstance(log, Station):
        return [Tracked(each, log.sites_of(each.set_id), log.sets_arrived(each.set_id)) for each in log.media()]
    complete, here = log.completed_sets(), (log.site(),)
    return [Tracked(each, here, here if each.set_id in complete else ()) for each in log.media()]


def chosen(media: Sequence[Tracked], label: str, ending: str) -> list[Tracked]:
    """Return the media of one set that carry a label: one, unless somebody labelled several shares alike.

    Where several sets have a medium of that label, those that are retired don't count: a label goes round with its stick.

    Raises:
        NotFound: none.
        Usage: several sets have one in use.
    """
    found = labelled(media, label, ending)
    if not found:
        why = f"none in the set whose id ends in {ending}" if ending else ""
        raise NotFound(f"no medium {label} is known here", why=why, hint="airlock medium list shows every label")
    found = [each for each in found if not each.medium.retired] or found
    sets = list(dict.fromkeys(each.medium.set_id for each in found))
    if len(sets) > 1:
        raise Usage(
            f"{label}: media of several sets carry this label",
            why="\n".join(f"set {each.medium.set_id or '(not read yet)'}, {each.medium.state}" for each in found),
            hint=f"name the set: --set {next(each for each in sets if each)}",
        )
    return found


def labelled(media: Sequence[Tracked], label: str, ending: str) -> list[Tracked]:
    """Return the media that carry a label, in any letter case, of the set whose id ends so if an ending is given."""
    wanted = parse_medium_label(label, what="medium").casefold()
    return [each for each in of_set(media, ending) if each.medium.label.casefold() == wanted]


def of_set(media: Sequence[Tracked], ending: str) -> list[Tracked]:
    """Return the media of the set whose id ends so; with an empty ending all of them."""
    if ending and (len(ending) < _SHORTEST_ENDING or not ending.isalnum()):
        raise Usage(
            f"{ending!r}: not the end of a set id", why=f"expected at least its last {_SHORTEST_ENDING} characters", hint="airlock medium list"
        )
    return [each for each in media if each.medium.set_id.endswith(ending.upper())]
