"""Log lines on stdout, as text or as one JSON object a line."""

import contextlib
import io
import json
import logging
import sys
from datetime import UTC, datetime

from . import task


def configure(level: str, form: str) -> None:
    """Send all of this process's logging to stdout: `form` is "text" or "json"."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Line by line: otherwise what a task prints appears only in pieces of 8 KiB.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        _Json() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def keep() -> None:
    """Have the loggers that report failures of the user's code stay enabled, whatever it does.

    By default logging.config disables all loggers that exist already.
    """
    package = __name__.partition(".")[0]
    kept = (f"{package}.", "uvicorn.error", "asyncio")
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith(kept):
            logger.__class__ = _Kept


class _Kept(logging.Logger):
    disabled = property(lambda self: False, lambda self, value: None)


# What every record has; all else that is in one came by `extra`.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class _Json(logging.Formatter):
    """With the fields of `extra`, and inside a task with its item and attempt."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in _USUAL}
        line = extra | {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        with contextlib.suppress(LookupError):
            doing = task.attempt()
            line |= {"item": doing.item, "attempt": doing.number, "deaths": doing.deaths}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
