"""The one task that all contenders run, as a coroutine and as a function: its item says what to do.

n: nothing. s: sleep for 1 ms. l<time>: tell how long ago that was. h<time>: tell that, then sleep
for 1 ms. r: the first time, never end.
"""

import asyncio
import os
import time
from pathlib import Path

from marks import AGAIN, LATE, LOADED, NAP, NOOP, Marks

marks = Marks(os.environ["MARKS"])
FOREVER = 3600


async def work(item: str) -> None:
    if item == "n":
        marks.add(NOOP)
    elif item == "s":
        await asyncio.sleep(0.001)
        marks.add(NAP)
    elif item[0] == "h":
        tell(item, marks.loaded, LOADED)
        await asyncio.sleep(0.001)
    elif item == "r" and first():
        await asyncio.sleep(FOREVER)
    else:
        end(item)


def work_sync(item: str) -> None:
    if item == "n":
        marks.add(NOOP)
    elif item == "s":
        time.sleep(0.001)
        marks.add(NAP)
    elif item[0] == "h":
        tell(item, marks.loaded, LOADED)
        time.sleep(0.001)
    elif item == "r" and first():
        time.sleep(FOREVER)
    else:
        end(item)


def first() -> bool:
    if marks.begun.exists():
        return False
    marks.begun.touch()
    return True


def end(item: str) -> None:
    if item == "r":
        marks.add(AGAIN)
        return
    tell(item, marks.late, LATE)


def tell(item: str, where: Path, kind: int) -> None:
    took = (time.monotonic() - float(item[1:])) * 1000
    with open(where, "a") as file:
        file.write(f"{took:.4f}\n")
    marks.add(kind)
