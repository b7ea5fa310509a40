"""The last ten minutes as lines: from the samples to coordinates, which a template draws as SVG."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...runtime.snapshot import Sample, Snapshot
from .. import words

WINDOW = 600
"""Seconds that a chart shows."""
STEP = 6
"""Seconds that one point of a line stands for."""
HEIGHT = 100
DIGITS = (1, 2, 3, 4, 5, 6, 8, 10)
AGES = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
"""Where a scale of seconds may end; beyond that days."""

Points = dict[int, float]
"""The time of each step, and its value; a missing step is a gap."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    kind: str
    """The class in the style sheet."""
    now: str
    path: str
    area: str
    """The path of the area below."""


@dataclass(frozen=True)
class Band:
    """One step of the time, and the values there, in words."""

    x: int
    title: str


@dataclass(frozen=True)
class Chart:
    """What the template draws."""

    id: str
    title: str
    now: str
    unit: str
    lines: list[Line]
    grid: list[tuple[float, str]]
    """Heights from the top, in percent, and what they stand for."""
    bands: list[Band]
    note: str
    """The highest value shown."""
    summary: str
    """In words, for those who cannot see the chart."""


def charts(snapshot: Snapshot) -> list[Chart]:
    """How much waits, for how long, and how fast it comes and goes."""
    samples = snapshot.samples
    end = int(snapshot.time) // STEP * STEP + STEP
    waiting = steps(samples, lambda each: each.waiting)
    in_hand = steps(samples, lambda each: each.in_hand)
    rates = snapshot.rates
    depth = [
        ("waiting", "first", words.number(snapshot.waiting), waiting),
        ("in hand", "second", words.number(snapshot.in_hand), in_hand),
    ]
    flow = [
        (name, kind, f"{words.rate(rates.get(name, 0.0))}/s", _speed(samples, name))
        for name, kind in (("pushed", "first"), ("done", "second"), ("failed", "third"))
    ]
    age_now = _age_now(snapshot)
    age = [("oldest", "first", age_now, ages(snapshot))]
    return [
        _chart("depth", "Waiting", words.number(snapshot.waiting), "items", end, depth, _number),
        _chart("age", "Oldest waits", age_now, "", end, age, _age),
        _chart("flow", "Done", words.rate(rates.get("done", 0.0)), "a second", end, flow, _number),
    ]


def bars(seconds: dict[str, float]) -> list[tuple[str, float, float]]:
    """The quantiles of the run times with the width of a bar in percent: 1 ms to 1,000 s."""
    names = [name for name in ("p50", "p95", "p99") if seconds.get(name) is not None]
    widths = [100 * (math.log10(max(seconds[name], 1e-9)) + 3) / 6 for name in names]
    return [
        (name, seconds[name], round(min(max(width, 2), 100), 1))
        for name, width in zip(names, widths, strict=True)
    ]


def steps(samples: Sequence[Sample], value: Callable[[Sample], float]) -> Points:
    """The highest value in each step."""
    points: Points = {}
    for each in samples:
        step = _step(each)
        points[step] = max(points.get(step, 0), value(each))
    return points


def _step(sample: Sample) -> int:
    return int(sample.time) // STEP * STEP


def _age_now(snapshot: Snapshot) -> str:
    if snapshot.oldest_seconds is None:
        return "unknown" if snapshot.waiting else words.span(0.0)
    return ("≥ " if snapshot.oldest_is_least else "") + words.span(snapshot.oldest_seconds)


def ages(snapshot: Snapshot) -> Points:
    """How long the oldest has waited, in each step; a gap where nobody knows."""
    points: Points = {}
    for each, age in zip(snapshot.samples, snapshot.ages, strict=True):
        if age is not None or not each.waiting:
            points[_step(each)] = max(points.get(_step(each), 0), age or 0.0)
    return points


def _speed(samples: Sequence[Sample], name: str) -> Points:
    """How much was added to a total, per second, in each step."""
    last = {_step(each): each for each in samples}
    points: Points = {}
    for (_, before), (step, each) in pairwise(last.items()):
        added = getattr(each, name) - getattr(before, name)
        seconds = each.time - before.time
        # A step that has just begun says too little. Less than before: that Redis was emptied.
        if STEP / 2 <= seconds <= 3 * STEP and added >= 0:
            points[step] = added / seconds
    return points


Scale = Callable[[float], tuple[float, Callable[[float], str]]]


def _number(most: float) -> tuple[float, Callable[[float], str]]:
    """The end of a scale that reaches `most`, one digit and zeros; and how to show a value."""
    power = 10.0 ** math.floor(math.log10(max(most, 1)))
    return next(digit * power for digit in DIGITS if digit * power >= most), words.rate


def _age(most: float) -> tuple[float, Callable[[float], str]]:
    return next((end for end in AGES if end >= max(most, 10)), most), words.duration


def _chart(
    id: str,  # noqa: A002  as in HTML
    title: str,
    now: str,
    unit: str,
    end: int,
    lines: list[tuple[str, str, str, Points]],
    scale: Scale,
) -> Chart:
    start = end - WINDOW
    shown = [{at: v for at, v in points.items() if at >= start} for *_, points in lines]
    most = max((value for points in shown for value in points.values()), default=0.0)
    top, label = scale(most)
    drawn = [
        Line(name, kind, current, *_path(points, start, top))
        for (name, kind, current, _), points in zip(lines, shown, strict=True)
    ]
    names = [name for name, *_ in lines]
    note = f"at most {label(most)} in ten minutes"
    return Chart(
        id,
        title,
        now,
        unit,
        drawn,
        [(0, label(top)), (50, label(top / 2)), (100, "")],
        list(_bands(names, shown, start, label)),
        note,
        f"{title}: now {now} {unit}".rstrip() + f", {note}",
    )


def _path(points: Points, start: int, top: float) -> tuple[str, str]:
    """The line through the points, and around the area below it, in one piece between two gaps."""
    line, area = [], []
    for piece in _pieces(points):
        spots = [f"{at - start + STEP} {HEIGHT - points[at] / top * HEIGHT:.1f}" for at in piece]
        first, last = piece[0] - start + STEP, piece[-1] - start + STEP
        # The 0.1 makes a single point visible.
        line.append(f"M{' L'.join(spots)} h0.1")
        area.append(f"M{first} {HEIGHT} L{' L'.join(spots)} L{last} {HEIGHT}Z")
    return "".join(line), "".join(area)


def _pieces(points: Points) -> Iterator[list[int]]:
    piece: list[int] = []
    for at in sorted(points):
        if piece and at - piece[-1] > STEP:
            yield piece
            piece = []
        piece.append(at)
    if piece:
        yield piece


def _bands(
    names: list[str], shown: list[Points], start: int, label: Callable[[float], str]
) -> Iterator[Band]:
    for at in sorted(set().union(*shown)):
        told = [
            f"{label(points[at])} {name}"
            for name, points in zip(names, shown, strict=True)
            if at in points
        ]
        yield Band(at - start, f"{words.clock(at)}: {', '.join(told)}")
