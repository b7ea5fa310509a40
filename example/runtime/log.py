"""Log lines on stdout, as text or as one JSON object a line."""

import io
import json
import logging
import sys
from datetime import UTC, datetime


def configure(level: str, form: str) -> None:
    """Send all of this process's logging to stdout: `form` is "text" or "json"."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # By line: else what a task prints is seen when 8 KiB of it have gathered.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        _Json() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
