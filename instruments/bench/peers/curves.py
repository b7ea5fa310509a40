"""Lines over a logarithmic axis, as an SVG."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from .chart import OURS, THEIRS, opening, text

LEFT, WIDTH, TOP, HEIGHT = 70, 560, 84, 220
STEPS = 4
COLOURS = (OURS, THEIRS, "#b3652b")


class Curve(NamedTuple):
    name: str
    points: Sequence[tuple[float, float]]


def curves(title: str, note: str, across: str, lines: Sequence[Curve]) -> str:
    """The values from zero up, over the counts that `across` names, which are above zero."""
    counts = sorted({x for line in lines for x, _ in line.points})
    high = nice(max(y for line in lines for _, y in line.points))
    low, wide = math.log10(counts[0]), math.log10(counts[-1] / counts[0]) or 1

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (math.log10(x) - low) / wide * WIDTH, TOP + (1 - y / high) * HEIGHT

    total, bottom = LEFT + WIDTH + 150, TOP + HEIGHT + 50
    parts = [
        *opening(title, note, total, bottom),
        text(LEFT + WIDTH / 2, bottom - 8, f"{across}; logarithmic scale", "#666", "middle"),
    ]
    for step in range(STEPS + 1):
        _, y = place(counts[0], high * step / STEPS)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#e4e4ea"/>')
        parts.append(text(LEFT - 8, y + 4, f"{high * step / STEPS:,.4g}", "#666", "end"))
    parts += [text(place(x, 0)[0], TOP + HEIGHT + 18, short(x), "#666", "middle") for x in counts]
    ends = spread([place(*line.points[-1])[1] for line in lines])
    for line, colour, end in zip(lines, COLOURS, ends, strict=False):
        places = [place(x, y) for x, y in line.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(text(LEFT + WIDTH + 10, end + 4, line.name, colour))
    return "\n".join([*parts, "</svg>", ""])


def nice(value: float) -> float:
    """The next number above that divides well: 1, 2, 4, 6 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value or 1))
    return next(each * power for each in (1, 2, 4, 6, 8, 10) if each * power >= value)


def spread(heights: list[float]) -> list[float]:
    """Where names stand beside the ends of their lines: none on another."""
    found = list(heights)
    order = sorted(range(len(found)), key=found.__getitem__)
    for above, below in itertools.pairwise(order):
        found[below] = max(found[below], found[above] + 16)
    return found


def short(count: float) -> str:
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= size:
            return f"{count / size:g}{unit}"
    return f"{count:g}"
