"""Push as a contender's users do: push.py MODULE noop NOOPS NAPS | late COUNT RATE | again

noop: the first ones, one after the other, are measured: prints how many a second. The rest is
pushed in the contender's quickest way.
late: COUNT items for an idle worker, then RATE a second for some seconds. Prints the rate that was
reached, and how many of these items tell how late they are.
"""

import asyncio
import importlib
import inspect
import random
import sys
import time
from types import ModuleType

import uvloop

MEASURED = 500
WARM = 20
PAUSE = 0.08  # s, at most: 25 items a second
LOAD_SECONDS = 2.0
WARM_SECONDS = 0.5
SAMPLES = 250


async def main() -> None:
    name, what, *counts = sys.argv[1:]
    module = importlib.import_module(name)
    if hasattr(module, "connect"):
        await module.connect()
    try:
        if what == "noop":
            await noop(module, *map(int, counts))
        elif what == "late":
            await idle(module, int(counts[0]))
            await load(module, float(counts[1]))
        else:
            await one(module, "r")
    finally:
        if hasattr(module, "close"):
            await module.close()


async def noop(module: ModuleType, count: int, naps: int) -> None:
    measured = min(MEASURED, count - WARM)
    for number in range(WARM + measured):
        if number == WARM:
            begun = time.perf_counter()
        await one(module, "n")
    print(measured / (time.perf_counter() - begun))
    await many(module, ["n"] * (count - WARM - measured) + ["s"] * naps)


async def idle(module: ModuleType, count: int) -> None:
    await one(module, "n")  # it connects
    for _ in range(count):
        await asyncio.sleep(random.uniform(0, PAUSE))  # noqa: S311
        await one(module, f"l{time.monotonic()}")


async def load(module: ModuleType, rate: float) -> None:
    """1 ms items at random times. One that is due while another is pushed comes right after it."""
    share = SAMPLES / (rate * (LOAD_SECONDS - WARM_SECONDS))
    sent = sampled = 0
    begun = due = time.monotonic()
    while (due := due + random.expovariate(rate)) < begun + LOAD_SECONDS:
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        tells = due > begun + WARM_SECONDS and random.random() < share  # noqa: S311
        await one(module, f"h{time.monotonic()}" if tells else "s")
        sent += 1
        sampled += tells
    print(sent / (time.monotonic() - begun), sampled)


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
    # As under uvicorn.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
