"""What is wrong with the programs, for a health check that has little time: `example-health`.

It judges by what `ready` tells of each process, and by how often each has died recently.
"""

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from supervisor.events import ProcessStateBackoffEvent, ProcessStateExitedEvent
from supervisor.states import ProcessStates

from .plugin import Plugin

DEATHS = 3
DEATHS_WITHIN = 60.0
"""With so many deaths in so many seconds a process keeps dying, whatever its state is now."""
STARTS_WITHIN = 5
"""A process may take so many times longer to become ready than it may be silent."""


def install(plugin: Plugin, patience: float) -> None:
    if "ready" not in plugin.methods:
        return
    deaths: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=DEATHS))

    def health(_: object) -> str:
        """Tell what is wrong, and where programs listen.

        @return string result  Lines `wrong WHAT`; `waits NAME` for a process that is not ready;
                               `listens GROUP URL` where one of the group's processes is
        """
        rows = plugin.methods["ready"](None)
        waits = [f"waits {row['name']}" for row in rows if not row["ready"]]
        wrong = [f"wrong {line}" for row in rows for line in _wrong(row, patience, deaths)]
        sockets = {f"listens {row['group']} {row['socket']}" for row in rows if _serves(row)}
        return "\n".join([*wrong, *waits, *sorted(sockets)])

    def on_death(event: Any) -> None:
        # An expected exit does not count. From EXITED, crash_loop has changed the state: that death
        # was counted before.
        expected = isinstance(event, ProcessStateExitedEvent) and event.expected
        expected = expected or plugin.ended_as_planned(event.process)
        if not expected and event.from_state != ProcessStates.EXITED:
            deaths[plugin.key(event.process)].append(time.monotonic())

    plugin.subscribe(ProcessStateExitedEvent, on_death)
    plugin.subscribe(ProcessStateBackoffEvent, on_death)
    plugin.methods["health"] = health


def _serves(row: dict[str, Any]) -> bool:
    return "socket" in row and row["ready"] and bool(row["pid"])


def _wrong(row: dict[str, Any], patience: float, deaths: dict[str, deque[float]]) -> Iterator[str]:
    name, state = row["name"], row["state"]
    recent = deaths[name]
    often = len(recent) == DEATHS and time.monotonic() - recent[0] < DEATHS_WITHIN
    last = row.get("last_exit", "unknown")
    if state in ("BACKOFF", "FATAL", "UNKNOWN") or (state == "EXITED" and not row["ready"]):
        yield f"{name} is {state}, last exit: {last}"
    elif often:
        yield f"{name} keeps dying: {DEATHS} times within {DEATHS_WITHIN:g} s, last exit: {last}"
    elif row.get("silent_seconds", 0.0) > patience and state != "STOPPING":
        yield f"{name} has been silent for {row['silent_seconds']:.0f} s"
    elif row.get("starting_seconds", 0.0) > patience * STARTS_WITHIN:
        yield f"{name} has not become ready for {row['starting_seconds']:.0f} s"
