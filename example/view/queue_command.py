"""example-queue: shows the state of the queue and the dead items, and repairs it.

The queue is the one at REDIS_URL and REDIS_KEY. Exit statuses: 0; 1 if Redis is away or refuses, an
id is unknown, the queue has no room, or `status --check` finds something wrong; 2 for wrong
arguments or settings.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from ..runtime import dead, snapshot
from ..runtime.environment import SettingsError
from ..runtime.link import ERRORS, REFUSALS
from ..runtime.outage import explained
from ..runtime.producer import MOST_ITEMS, Producer, QueueFullError
from ..runtime.redis_url import redacted
from ..settings import Settings
from . import queue_text, troubles

DESCRIPTION = "Show the state of the queue and the dead items, and repair it."
EPILOG = (
    "Settings are variables of the environment, see README.md: REDIS_URL, REDIS_KEY, QUEUE_LIMIT."
    " `scripts/with-env example-queue …` takes them from .env."
)

_BULK_LEAST = 2**20  # bytes of an item that each Redis takes, however it is set up
_ITEMS = "put -- before items that begin with a hyphen"

Outcome = tuple[int, dict[str, Any], str]
"""The exit status, and the result as JSON and as text."""


def main() -> None:
    """Run the command in sys.argv, and exit with its status."""
    arguments = _arguments()
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    try:
        status, fields, text = asyncio.run(arguments.act(settings, arguments))
    except QueueFullError as error:
        _fail(f"queue full: {error}: see QUEUE_LIMIT")
    except ERRORS as error:
        where = redacted(settings.redis_url)
        hints = getattr(error, "__notes__", [])
        what = "refuses" if hints or isinstance(error, REFUSALS) else "away"
        _fail("; ".join([f"Redis {what} at {where}: {explained(error, where)}", *hints]))
    except KeyboardInterrupt:
        sys.exit(130)
    _tell(json.dumps(fields) if arguments.json else text)
    # Without this, the interpreter's last garbage collections take a fifth of the command's time.
    gc.freeze()
    sys.exit(status)


def _tell(text: str) -> None:
    """Print `text`. It is no error if the reader has gone, or if there is no stdout."""
    if sys.stdout is None:
        return
    try:
        # Whatever the terminal's encoding cannot show is escaped.
        encoding = sys.stdout.encoding or "utf-8"
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        print(shown, flush=True)
    except BrokenPipeError:
        # Otherwise Python would flush again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"done, but cannot print it: {error}")


def _fail(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.set_defaults(act=_status, check=False)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")

    def add(name: str, act: _Action, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}."
        )
        command.set_defaults(act=act)
        # It may stand before the command or behind it.
        command.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print one line of JSON"
        )
        return command

    status = add("status", _status, "show how much waits, and for how long (the default)")
    status.add_argument("--check", action="store_true", help="exit with 1 if something is wrong")
    listing = add("dead", _dead, "list the dead items, the newest first")
    listing.add_argument("--count", type=_count, default=20, help="how many, 1 to 1000000 (20)")
    ids = ("the ids that `dead` shows, or all", "ID")
    for name, act, about in (
        ("requeue", _requeue, "push dead items again, as new items"),
        ("drop", _drop, "delete dead items"),
    ):
        add(name, act, about).add_argument("ids", nargs="+", help=ids[0], metavar=ids[1])
    add("retry-now", _retry_now, "try now everything that waits for its next attempt")
    push = add("push", _push, "push items, all or none; from standard input if none is given")
    push.add_argument("items", nargs="*", metavar="ITEM", help=_ITEMS)
    push.add_argument("-0", "--null", action="store_true", help="read items that end with NUL")
    return parser.parse_args()


_Action = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, Outcome]]


class _Version(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(version(str(__package__).partition(".")[0]))
        sys.exit()


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("is not a number from 1 to 1000000")
    return int(text)


async def _status(settings: Settings, arguments: argparse.Namespace) -> Outcome:
    now = await snapshot.read(settings.redis_url, settings.redis_key)
    fields = {
        name: getattr(now, name)
        for name in (
            *("time", "waiting", "in_hand", "retrying", "later", "dead"),
            *("oldest_seconds", "oldest_is_least", "workers", "totals", "rates", "run_seconds"),
        )
    }
    fields["schedule"] = [vars(entry) for entry in now.schedule]
    where = f"{settings.redis_key} at {redacted(settings.redis_url)}"
    wrong = troubles.of_queue(now, settings.queue_limit)
    fields["troubles"] = [each.text for each in wrong]
    status = int(arguments.check and bool(wrong))
    return status, fields, queue_text.status(now, where, fields["troubles"])


async def _dead(settings: Settings, arguments: argparse.Namespace) -> Outcome:
    found = await dead.dead(settings.redis_url, settings.redis_key, arguments.count)
    fields = [vars(each) | {"item": dead.shown(each.item, dead.BYTES)} for each in found]
    return 0, {"items": fields}, queue_text.dead(found, time.time())


async def _requeue(settings: Settings, arguments: argparse.Namespace) -> Outcome:
    return await _each(settings, arguments.ids, dead.requeue, "requeued")


async def _drop(settings: Settings, arguments: argparse.Namespace) -> Outcome:
    return await _each(settings, arguments.ids, dead.drop, "dropped")


async def _each(
    settings: Settings,
    ids: list[str],
    act: Callable[[str, str, str | None], Coroutine[Any, Any, int]],
    done: str,
) -> Outcome:
    """Act on each id. Name each that is not on the dead list; then the exit status is 1."""
    count, unknown = 0, []
    for each in ids:
        changed = await act(settings.redis_url, settings.redis_key, None if each == "all" else each)
        count += changed
        if not changed and each != "all":
            unknown.append(each)
            print(f"no dead item has the id {each!r}", file=sys.stderr)
    return int(bool(unknown)), {done: count, "unknown": unknown}, f"{count:,} {done}"


async def _retry_now(settings: Settings, _: argparse.Namespace) -> Outcome:
    count = await dead.retry_now(settings.redis_url, settings.redis_key)
    return 0, {"retried": count}, f"{count:,} tried now"


async def _push(settings: Settings, arguments: argparse.Namespace) -> Outcome:
    items = [os.fsencode(each) for each in arguments.items] or _read(arguments.null)
    if len(items) > min(settings.queue_limit, MOST_ITEMS):
        raise QueueFullError(f"no room for {len(items):,} items")
    if items:
        producer = Producer(settings.redis_url, settings.redis_key, settings.queue_limit)
        try:
            await producer.push_many(items)
        except ERRORS as error:
            if hint := await _hint(settings, items, error):
                error.add_note(hint)
            raise
        finally:
            await producer.close()
    return 0, {"pushed": len(items)}, f"{len(items):,} pushed"


async def _hint(settings: Settings, items: list[bytes], error: Exception) -> str:
    """Why a Redis that is there may not have taken them, or ''. It closes the connection then, and
    seldom gets to say why.
    """
    whole = sum(map(len, items))
    if whole <= _BULK_LEAST or (isinstance(error, REFUSALS) and "Protocol" not in str(error)):
        return ""
    try:
        await snapshot.read(settings.redis_url, settings.redis_key)
    except ERRORS:
        return ""
    sizes = f"{whole:,} bytes, {max(map(len, items)):,} of one item"
    return f"it takes no {sizes}: see its proto-max-bulk-len and client-query-buffer-limit"


def _read(are_ended_by_nul: bool) -> list[bytes]:
    """The items of standard input, one a line. Empty lines are left out."""
    if sys.stdin is None:
        return []
    if sys.stdin.isatty():
        print("one item a line; Ctrl-D ends:", file=sys.stderr)
    whole = sys.stdin.buffer.read()
    return [each for each in whole.split(b"\0" if are_ended_by_nul else b"\n") if each]
