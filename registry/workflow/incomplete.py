"""What is said of a set that is not whole yet: which parts are missing or damaged, on which medium they are, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from registry.errors import AirlockError, MediumDamaged
from registry.media.index import Index
from registry.workflow.arrivals import Expected
from registry.workflow.receive import Receiver

__all__ = ["broken_off", "incomplete", "missing_media", "numbers_in_words"]


def incomplete(receiver: Receiver, index: Index, expected: Expected) -> MediumDamaged:
    """Return the error with which the import of a set ends that lacks parts."""
    missing, damaged = receiver.missing, receiver.damaged
    details = {"set": index.set_id, "missing": missing, "damaged": sorted(damaged)}
    why = [f"missing: {numbers_in_words(missing)} of {index.parts} part(s)"]
    why += [f"{each.what}: {each.why}" for _, each in sorted(damaged.items())]
    why += [f"{numbers_in_words(numbers)}: on {name}" for name, numbers in missing_media(expected, [each for each in missing if each not in damaged])]
    hints = dict.fromkeys(each.hint for _, each in sorted(damaged.items()) if each.hint)
    if len(missing) > len(damaged):
        hints["bring what is missing, on any medium in any order; what arrived is kept, the same command continues"] = None
    if damaged:
        hints[f"or ask for just these parts again: airlock repair-request {index.set_id} --to MEDIUM"] = None
    if len(missing) == len(damaged) == 1:
        [damage] = damaged.values()
        return MediumDamaged(damage.what, why=damage.why, hint="\n".join(hints), details=details)
    return MediumDamaged(f"set {index.set_id}: incomplete", why="\n".join(why), hint="\n".join(hints), details=details)


def broken_off(broken: AirlockError, problem: MediumDamaged | None) -> AirlockError:
    """Return the error with which the import of a stream ends that is broken, and of whose set something is missing, or nothing."""
    if problem is None:
        return broken
    rest = [line for line in problem.why.splitlines() if broken.why not in line]
    hint = "\n".join(dict.fromkeys([*broken.hint.splitlines(), *problem.hint.splitlines()]))
    return type(broken)(broken.what, why="\n".join([broken.why, *rest]), hint=hint, details=problem.details)


def missing_media(expected: Expected, missing: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield each medium that has missing parts, in words, and which; as far as the media that were at hand hinted."""
    count = len(expected.media)
    if count < 2:
        return
    for medium, (label, first, last) in enumerate(expected.media, 1):
        numbers = [number for number in missing if first <= number <= last]
        if numbers:
            yield f"medium {medium} of {count}" + (f" (label {label})" if label else ""), numbers


def numbers_in_words(numbers: Sequence[int]) -> str:
    """Return numbers, in order, with runs drawn together: ``1, 3 to 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{first} to {last}" if last > first + 1 else ", ".join(map(str, range(first, last + 1))) for first, last in runs]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
