"""A worker process as the tests need it: `python -m tests.queue.program OPTIONS-AS-JSON`.

An item says what is done with it, word by word: "nap 0.5 fail" sleeps, then raises. Words that
it does not know are just names. What happens is told in a ledger, one line each, which survives
kill -9: "start pid time item" or "end pid time item".
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from example.runtime import appetite, link, log, names, process, slots, worker
from example.runtime.task import Again, GiveUp, attempt

OPTIONS: dict[str, Any] = json.loads(sys.argv[1])
LEDGER = os.open(OPTIONS["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def tell(what: str, item: bytes | str) -> None:
    shown = item if isinstance(item, str) else item[:50].decode(errors="backslashreplace")
    os.write(LEDGER, f"{what} {os.getpid()} {time.monotonic()} {shown!r}\n".encode())


def act(words: list[str]) -> None:
    if "grouped" in words:  # as a TaskGroup raises it
        try:
            act([word for word in words if word != "grouped"])
        except Exception as error:
            told = ExceptionGroup("of one", [error])
            raise ExceptionGroup("of two", [OSError("besides"), told]) from None
    if "leave" in words:  # which the interpreter would wait for at its end
        threading.Thread(target=time.sleep, args=(1000,)).start()
    if "die" in words:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fail" in words:
        raise ValueError("told to fail")
    if "giveup" in words:
        raise GiveUp("told to give up")
    if "again" in words and attempt().number == 1:
        raise Again("told to wait", after=float(words[words.index("again") + 1]))
    if "who" in words:
        deadline = attempt().deadline
        logging.info("here", extra={"left": deadline - time.monotonic(), "deadline": deadline})
    if "later" in words:
        asyncio.get_running_loop().call_later(0.5, act, ["who"])


async def take_bytes(item: bytes) -> None:
    tell("start", item)
    words = item[:50].decode(errors="replace").split()
    if words[:1] == ["nap"]:
        await asyncio.sleep(float(words[1]))
    if words[:1] == ["deaf"]:  # will not be stopped
        end = time.monotonic() + float(words[1])
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
    act(words)
    tell("end", item)


async def take_text(item: str) -> None:
    await take_bytes(item.encode())


def take_in_thread(item: bytes) -> None:
    tell("start", item)
    words = item[:50].decode(errors="replace").split()
    if words[:1] == ["nap"]:
        time.sleep(float(words[1]))
    act(words)
    tell("end", item)


def returns_a_coroutine(item: bytes) -> Any:
    return take_bytes(item)


async def raises_what_it_got(item: str) -> None:
    tell("start", item)
    if item == "exit":
        sys.exit(2)
    if item == "surrogate":
        raise ValueError("\udc80")
    if item == "mute":
        raise MuteError
    if item == "timeless":
        raise TimelessError
    tell("end", item)


class MuteError(Exception):
    def __str__(self) -> str:
        raise LookupError


class TimelessError(Again):
    def __init__(self) -> None:
        pass


TASKS: dict[str, slots.Work] = {
    "bytes": take_bytes,
    "text": take_text,
    "thread": take_in_thread,
    "few threads": take_in_thread,
    "returns": returns_a_coroutine,
    "raises": raises_what_it_got,
}


if OPTIONS["work"] == "few threads":
    start_thread = threading.Thread.start

    def start_if_few(thread: threading.Thread) -> None:
        if threading.active_count() > 3:
            raise RuntimeError("can't start new thread")
        start_thread(thread)

    setattr(threading.Thread, "start", start_if_few)  # noqa: B010 mypy does not like it plain


async def main() -> None:
    work = TASKS[OPTIONS["work"]]
    async with process.Process("worker") as this:
        limits = worker.Limits(**OPTIONS["limits"])
        await worker.run(this, OPTIONS["url"], OPTIONS["key"], work, limits)


if host := OPTIONS.get("host"):
    names.PLACE = f"{host}/elsewhere"
link._TIMEOUT = OPTIONS["answer_seconds"] or link._TIMEOUT
appetite.RECOVERY = OPTIONS["recovery_seconds"] or appetite.RECOVERY
slots.REGAIN = OPTIONS["recovery_seconds"] or slots.REGAIN
log.configure("info", OPTIONS["log_format"])
process.run(main)
