"""Push as a contender's users do: push.py MODULE noop NOOPS NAPS | late COUNT | again

The first ones, one after the other, are measured: prints how many a second. The rest is pushed in
the contender's quickest way.
"""

import asyncio
import importlib
import inspect
import random
import sys
import time
from types import ModuleType

MEASURED = 500
WARM = 20
PAUSE = 0.08  # s, at most: 25 items a second


async def main() -> None:
    name, what, *counts = sys.argv[1:]
    module = importlib.import_module(name)
    if hasattr(module, "connect"):
        await module.connect()
    try:
        await do(module, what, *map(int, counts))
    finally:
        if hasattr(module, "close"):
            await module.close()


async def do(module: ModuleType, what: str, count: int = 0, naps: int = 0) -> None:
    if what == "again":
        await one(module, "r")
    elif what == "late":
        for number in range(count):
            await asyncio.sleep(random.uniform(0, PAUSE) if number else 0)  # noqa: S311
            await one(module, f"l{time.monotonic()}")
    else:
        measured = min(MEASURED, count - WARM)
        for number in range(WARM + measured):
            if number == WARM:
                begun = time.perf_counter()
            await one(module, "n")
        print(measured / (time.perf_counter() - begun))
        await many(module, ["n"] * (count - WARM - measured) + ["s"] * naps)


async def one(module: ModuleType, item: str) -> None:
    found = module.push(item)
    if inspect.isawaitable(found):
        await found


async def many(module: ModuleType, items: list[str]) -> None:
    for start in range(0, len(items), 1000):
        part = items[start : start + 1000]
        if hasattr(module, "many"):
            await module.many(part)
        elif inspect.iscoroutinefunction(module.push):
            # A few at a time, in order.
            for at in range(0, len(part), 20):
                await asyncio.gather(*map(module.push, part[at : at + 20]))
        else:
            for item in part:
                module.push(item)


if __name__ == "__main__":
    asyncio.run(main())
