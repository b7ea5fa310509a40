"""Bars beside names, as an SVG."""

import math
from collections.abc import Sequence
from html import escape

OURS, THEIRS = "#1b7f5c", "#8a8fa3"
LEFT, WIDTH, HEIGHT, TOP = 410, 420, 22, 74


def bars(title: str, note: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar for each (name, value, words); the scale is logarithmic where values differ by 50."""
    known = [value for _, value, _ in rows if value > 0]
    low, high = min(known), max(known)
    logarithmic = high / low >= 50
    floor = math.log10(low) - 0.3

    def length(value: float) -> float:
        if value <= 0:
            return 0
        if logarithmic:
            return (math.log10(value) - floor) / (math.log10(high) - floor) * WIDTH
        return value / high * WIDTH

    total, bottom = LEFT + WIDTH + 130, TOP + HEIGHT * len(rows) + 12
    parts = opening(title, note + ("; logarithmic scale" if logarithmic else ""), total, bottom)
    for number, (name, value, words) in enumerate(rows):
        y = TOP + HEIGHT * number
        wide, colour = length(value), OURS if name.startswith("ours") else THEIRS
        parts.append(text(LEFT - 8, y + 13, name, anchor="end"))
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{wide:.1f}" height="{HEIGHT - 5}" rx="2"'
            f' fill="{colour}"/>'
        )
        parts.append(text(LEFT + wide + 6, y + 13, words))
    return "\n".join([*parts, "</svg>", ""])


def opening(title: str, note: str, width: int, height: int) -> list[str]:
    """What an SVG begins with: two lines above an empty picture."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        ' font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        text(12, 26, title, size=16),
        text(12, 48, note, colour="#666"),
    ]


def text(
    x: float, y: float, words: str, colour: str = "#222", anchor: str = "start", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"'
        f' font-size="{size}">{escape(words)}</text>'
    )
