"""Why an item failed, and what is to become of it, by what its task has raised."""

from dataclasses import dataclass

from .task import MOST, Again, GiveUp


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item failed, in one line that Redis takes."""

    why: str
    error: BaseException | None = None
    """What to log with its traceback, if anything."""
    is_final: bool = False
    """Whether another attempt would end just the same."""
    after: float | None = None
    """Seconds until the next attempt, if the task has asked for that."""


NOT_TEXT = Failure("the task takes str, and this is not UTF-8", is_final=True)


def failure(error: BaseException) -> Failure:
    """What is to become of an item whose task has raised `error`."""
    said = _said(error)
    why = _described(said)
    # What was said needs no traceback, but what else is in its group may.
    traceback_of = None if said is error else error
    match said:
        case GiveUp():
            return Failure(why, traceback_of, is_final=True)
        # A subclass may have an `after` of its own, or none.
        case Again(after=int() | float() as after) if 0 <= after <= MOST:
            return Failure(why, traceback_of, after=after)
        case _:
            return Failure(why, error)


def _said(error: BaseException) -> BaseException:
    """What the task says of its item, if a TaskGroup has put that into a group; else `error`."""
    if isinstance(error, BaseExceptionGroup):
        for kind in (GiveUp, Again):
            group: BaseException | None = error.subgroup(kind)
            while isinstance(group, BaseExceptionGroup):
                group = group.exceptions[0]
            if group:
                return group
    return error


def _described(error: BaseException) -> str:
    """The exception in one line that Redis takes, whatever its text is made of."""
    try:
        text = str(error)
    except Exception:
        text = "(its __str__ fails)"
    line = " ".join(f"{type(error).__name__}: {text}"[:1000].splitlines())
    return line.encode(errors="backslashreplace").decode()
