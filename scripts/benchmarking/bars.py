"""Draw bars as SVG, by hand: no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, MARGIN = 760, 220, 60
STEP, BAR, HEAD = 24, 16, 40
INK = "#767676"  # readable on white and on near-black
COLOURS = {"ours": "#3f84c4", "yardstick": "#8c8c8c", "peer": "#c07f2c"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its length in the axis' unit, and a key of ``COLOURS``."""

    label: str
    value: float
    kind: str


def bars(title: str, groups: Sequence[tuple[str, Sequence[Bar]]], *, mark: float, longest: float) -> str:
    """Return an SVG of grouped horizontal bars with a dashed line at ``mark``; a bar longer than ``longest`` is cut and says its value."""
    most = max((each.value for _, group in groups for each in group), default=mark)
    scale = (WIDTH - LABELS - MARGIN) / min(max(most, mark), longest)
    y, drawn = HEAD, []
    top = y
    for heading, group in groups:
        drawn.append(_text(0, y + 20, heading, weight="bold"))
        y += STEP + 8
        for each in group:
            drawn += _bar(y, each, scale, longest)
            y += STEP
        y += 8
    x = LABELS + mark * scale
    line = f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{y}" stroke="{INK}" stroke-dasharray="4 3"/>'
    said = [_text(0, 20, title), line, _text(x, y + 14, f"{mark:g}", anchor="middle")]
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" font-family="sans-serif" font-size="13" role="img">'
    return "\n".join([frame, f"<title>{escape(title)}</title>", *said, *drawn, "</svg>", ""])


def _bar(y: int, each: Bar, scale: float, longest: float) -> list[str]:
    length = min(each.value, longest) * scale
    value = f"{each.value:.2f}" + (" →" if each.value > longest else "")
    return [
        _text(LABELS - 8, y + 13, each.label, anchor="end"),
        f'<rect x="{LABELS}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" fill="{COLOURS[each.kind]}"/>',
        _text(LABELS + length + 6, y + 13, value),
    ]


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" fill="{INK}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
