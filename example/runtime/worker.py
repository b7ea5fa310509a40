"""worker: take items from the queue and do each of them, at least once."""

import asyncio
import contextlib
import inspect
import logging
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import ResponseError

from .link import ERRORS, Connection
from .outage import OutageLog
from .process import Process
from .queue import BACKOFF_MOST, FRESH, SOURCE, TEND, Consumer, GoneError, History, Request
from .rights import ensure

logger = logging.getLogger(__name__)

Work = Callable[[Any], Any]

STEP = 1024  # items that one request takes at most
HAND_BYTES = 32 << 20  # of items in hand, beyond which no further one is taken
HAND_BYTES_LEAST = 1 << 18  # of these on a link that proved too slow for more
UNREAD_MOST = 2  # replies of that size in a row that did not come in time
AHEAD = 0.1  # seconds of work to take ahead of the free slots
GRACE = 1.0  # seconds a task has to end once it was told to
PATIENCE = 1.0  # seconds an item may wait for a free slot here before others may have it
STARTED_BYTES = 1 << 16  # a larger item is not started before it was weighed with what is in hand
PAUSE = 0.005  # seconds between two requests while neither slots nor supply run out
BUSY_WAIT = 0.1  # seconds to wait for an item while others run, whose ends are to be confirmed
THREADS = 1000  # at most: with some thousands the event loop waits for seconds to have its turn
SPELL = 0.02  # seconds of starting tasks without a look at anything else
BACKOFF = 1.0  # seconds until the first retry, at most


@dataclass(frozen=True)
class Limits:
    """How much a worker does at once, and how long it bears with an item."""

    concurrency: int = 64
    job_timeout: float = 300.0  # seconds
    max_attempts: int = 5
    drain_seconds: float = 5.0

    @property
    def stuck(self) -> int:
        """So many slots lost to tasks that cannot be stopped, and the worker has to go."""
        return (self.concurrency + 1) // 2


async def run(process: Process, url: str, key: str, work: Work, limits: Limits) -> None:
    """Do what arrives on the list `key`, until `process` is told to stop.

    Exits with status 1, to be replaced, when too many tasks cannot be stopped; with 2 if `work`
    is no function of one argument with the type hint str or bytes.
    """
    process.drain_seconds = limits.drain_seconds
    try:
        doing = f"taking from {key}"
        worker = Worker(
            *(url, key, work, limits, lambda: process.ready(doing)),
            show=lambda trouble: process.status(trouble or doing),
        )
    except TypeError as error:
        logger.error("wrong task: %s", error)
        sys.exit(2)
    serving = asyncio.create_task(worker.serve())
    told = asyncio.create_task(process.stopping.wait())
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    worn_out = not told.done()
    told.cancel()
    await worker.stop(serving)
    if not serving.cancelled():
        serving.result()
    if worker.running:
        # What cannot be stopped would keep the interpreter from ending, too.
        logger.warning("worker ends with %d tasks that cannot be stopped", len(worker.running))
        process.exit_at_once = int(worn_out)
    elif worn_out:
        sys.exit(1)


@dataclass(slots=True)
class Running:
    """A slot's task, or None for a thread, and its item."""

    task: asyncio.Task[None] | None
    deadline: float
    size: int
    overdue: bool = False


class Worker:
    """What is in hand, by id: ready, running, then done or failed until Redis has confirmed."""

    def __init__(
        self,
        url: str,
        key: str,
        work: Work,
        limits: Limits,
        ready: Callable[[], None],
        show: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.threaded = not inspect.iscoroutinefunction(work)
        if self.threaded and limits.concurrency > THREADS:
            logger.warning(
                "CONCURRENCY is %d here, the most for plain functions: use more worker processes,"
                " or async functions",
                THREADS,
            )
            limits = replace(limits, concurrency=THREADS)
        self.limits = limits
        self.connection = Connection(url, key, ("SCRIPT", "LOAD", SOURCE))
        self.outage = OutageLog(url, show)
        self.announce = ready
        self.key = key
        self.consumer = Consumer(key)
        self.work = work
        self.text = _takes_text(work)

        self.ready: deque[tuple[int, bytes]] = deque()
        self.running: dict[int, Running] = {}
        self.done: list[int] = []
        self.failed: dict[int, tuple[float, int, str]] = {}
        self.giving: list[int] = []
        self.histories: dict[int, History] = {}

        self.joined = self.left = self.stopping = self.announced = self.starting = False
        self.refused = False  # the last WAIT, while all else may work
        self.sure = False  # a STEP has told on both sides what is in hand
        self.hold = False  # what is in hand must end first: a suspect runs alone
        self.dry = False  # the last request got less than it wanted
        self.hand_bytes = HAND_BYTES
        self.unread = 0  # replies that did not come, though they were of the least size
        self.ahead = 0  # items to take beyond the free slots, so that none stays free
        self.ended, self.counted = 0, 0.0  # how many have ended since when
        self.stepped = self.tended = self.started = 0.0
        self.changed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.sweeper: asyncio.TimerHandle | None = None

    # the life of a worker

    async def serve(self) -> None:
        """Work until stopped, or until too many slots are stuck."""
        while not self.stopping:
            await self._try(self._turn)
            long_ago = time.monotonic() - GRACE
            stuck = sum(run.overdue and run.deadline < long_ago for run in self.running.values())
            if stuck >= self.limits.stuck:
                logger.error("worker ends: too many tasks cannot be stopped")
                break

    async def stop(self, serving: asyncio.Task[None]) -> None:
        """Take no more, finish what runs within the time allowed, give back the rest."""
        # The flag as well: Python 3.11's wait_for, inside redis-py, can swallow a cancellation.
        self.stopping = True
        serving.cancel()
        await asyncio.wait({serving})
        await self._part()  # a request may have been cut off
        deadline = self.loop.time() + self.limits.drain_seconds
        self._give_all_ready()
        while self.announced and self.running and self.loop.time() < deadline:
            await self._try(self._wind_down, deadline)
        for each, run in self.running.items():
            run.overdue = True  # its end is nobody's business any more
            self._cancel(each, run)
        await asyncio.sleep(0.05 if self.running else 0)
        last = max(deadline, self.loop.time() + 1.0)
        while self.announced and not self.left and self.loop.time() < last:
            await self._try(self._leave, last)
        if self.announced and not self.left:
            logger.warning("Redis away: what was in hand comes back when others find it")
        await self.connection.close()

    async def _try(self, step: Callable[[], Coroutine[Any, Any, None]], until: float = 0) -> None:
        try:
            async with asyncio.timeout_at(until or None) as drain:
                await step()
            if not self.refused:
                self.outage.worked()
        except GoneError:
            self._renew()
        except ERRORS as error:
            if drain.expired():
                return
            await self._part()
            pause = self.outage.failed(error)
            if until:
                pause = min(pause, max(0.0, until - self.loop.time()))
            await asyncio.sleep(pause)

    async def _part(self) -> None:
        await self.connection.close()
        if self.joined:  # else a JOIN may be under way
            self._renew()

    def _renew(self) -> None:
        self.consumer = Consumer(self.key, self.consumer)
        self.joined = False

    async def _join(self) -> None:
        if self.joined:
            return
        await ensure(self.connection, self.key, "worker")
        kept = await self._ask(self.consumer.join())
        self.joined, self.sure = True, False
        self.consumer.joined()
        if self.stopping:
            await self._ask(self.consumer.stop())
        self.tended = 0.0
        if not self.announced:
            self.announced = True
            self.announce()
        elif not kept:
            # What still runs ends under an id that means nothing.
            logger.warning("taken for dead: what was in hand is done by others")
            self.hold = False
            self.ready.clear()
            self.giving.clear()
            self.histories.clear()

    async def _turn(self) -> None:
        await self._join()
        if time.monotonic() - self.tended >= TEND:
            await self._tend()
        if self.unread >= UNREAD_MOST:
            await self._skip_unreadable()
        await self._give_if_late()
        if self.dry:
            self._start()
        if self._well_supplied():
            await asyncio.sleep(PAUSE)
            return
        size = self._bytes_free()
        want = self._room(size)
        trouble = None
        if self.done or self.failed or not self.sure or (want and not (self.dry or self.hold)):
            trouble = await self._step(want, size)
        elif self.ready and len(self.running) < self.limits.concurrency:
            self._start()
            await asyncio.sleep(0)
        elif want and len(self.running) < self.limits.concurrency and not self.hold:
            await self._wait(BUSY_WAIT if self.running else self._until_tend())
        else:
            await self._change(self._until_tend())
            if self.hold:
                trouble = await self._step(want, size)
        self.changed.clear()
        if trouble:
            self._start()
            raise trouble

    async def _wind_down(self) -> None:
        await self._join()
        if time.monotonic() - self.tended >= TEND:
            await self._tend()
        if trouble := await self._step(0):
            raise trouble
        self._give_all_ready()
        await self._give()
        if not self.done and not self.failed:
            await self._change(self._until_tend())
        self.changed.clear()

    async def _leave(self) -> None:
        await self._join()
        self._give_all_ready()
        if trouble := await self._step(0):
            raise trouble
        await self._ask(self.consumer.leave())
        self.left = True

    # requests

    async def _ask(self, request: Request) -> Any:
        """Send one request; raises a refusal, and keeps the connection all the same."""
        (reply,) = await self.connection.ask(request)
        if isinstance(reply, ResponseError):
            raise _refusal(reply)
        return reply

    async def _wait(self, seconds: float) -> None:
        """Wait for an item, and start it; a STEP is to tell that, and to look for due retries."""
        self.sure = False
        try:
            item = await self._ask(self.consumer.wait(seconds))
        except ResponseError as error:
            # At maxmemory, say, or where the list is none, STEP goes on; else it fails next.
            self.refused = True
            self.outage.failed(error)
            await self._change(seconds)
            return
        self.refused = False
        if item is not None and len(item) <= STARTED_BYTES:
            self.ready.append((self.consumer.start(item), item))
            self._start()
            await asyncio.sleep(0)  # whoever waited goes first, then the next request

    async def _step(self, want: int, size: int = 0) -> ResponseError | None:
        """Confirm what has ended, and take up to `want` items of `size` bytes or little more.

        Returns what was refused of the rest, if anything.
        """
        done, self.done = self.done, []
        # Of what it was not told of, Redis would not note a failure.
        failed = [each for each in self.failed.items() if each[0] != self.consumer.started[0]]
        requests = [self.consumer.fail(each, *fate) for each, fate in failed]
        with_key = self._with_key(done)
        if with_key:
            requests.append(self.consumer.free(with_key))
        without = [each for each in done if each not in with_key] if with_key else done
        requests.append(self.consumer.step(want, size, without))
        try:
            await self.connection.send(*requests)
            self._start()  # while Redis is at it
            *others, reply = await self.connection.receive(len(requests))
            if isinstance(reply, ResponseError):
                raise _refusal(reply)
        except BaseException as error:
            self.done = done + self.done
            if isinstance(error, TimeoutError):
                # Perhaps the link is too slow for so much within a lease.
                self.unread += self.hand_bytes == HAND_BYTES_LEAST
                self.hand_bytes = max(HAND_BYTES_LEAST, self.hand_bytes // 8)
            raise
        for (each, _), answer in zip(failed, others, strict=False):
            if not isinstance(answer, ResponseError):
                del self.failed[each]
        if with_key and isinstance(others[-1], ResponseError):
            self.done, done = self.done + with_key, without
        for each in self.histories.keys() & done:
            del self.histories[each]
        self.unread = 0
        self.stepped = time.monotonic()
        self._look_ahead(len(done))
        first, items, histories = self.consumer.took(reply)
        self.histories.update(histories)
        self.ready.extend(enumerate(items, first))
        self.hold = bool(reply[2])
        self.dry = len(items) < want
        self.sure = True
        return next((answer for answer in others if isinstance(answer, ResponseError)), None)

    def _with_key(self, done: list[int]) -> list[int]:
        histories = self.histories
        if not histories:  # as ever but after failures
            return []
        return [each for each in done if each in histories and histories[each].mark]

    async def _skip_unreadable(self) -> None:
        """Charge a failure to an item that the link is too slow for, so that others have a turn."""
        self.unread = 0
        size = await self._ask(self.consumer.weigh())
        if size >= HAND_BYTES_LEAST:
            self._fail(self.consumer.skip(), f"its {size / 1e6:.1f} MB cannot be read in time")

    async def _tend(self) -> None:
        """Look after the dead, and after own items that a roll-back of Redis brought back."""
        dead: list[bytes] = []
        while True:
            known = [*self.running, *self.done, *self.failed, *self.giving]
            known += [each for each, _ in self.ready]
            reply = await self._ask(self.consumer.tend(known, dead))
            found, forgotten, given_up = self.consumer.tended(reply)
            if given_up:
                logger.error("%d items given up: each killed its worker four times", given_up)
            for each, item, history in forgotten:
                self.histories[each] = history
                self.ready.append((each, item))
            if not found or dead:
                break
            dead = found
            self.dry = False
            logger.info("took over from %d dead workers", len(dead))
        self.tended = time.monotonic()

    async def _give_if_late(self) -> None:
        late = self.ready and time.monotonic() - self.started > PATIENCE
        if late and len(self.running) >= self.limits.concurrency:
            self._give_all_ready()
        await self._give()

    def _give_all_ready(self) -> None:
        self.giving += [each for each, _ in self.ready]
        self.ready.clear()

    async def _give(self) -> None:
        if self.giving:
            await self._ask(self.consumer.give(self.giving))
            for each in self.giving:
                self.histories.pop(each, None)
            self.giving.clear()

    # when to ask for what

    def _room(self, size: int) -> int:
        in_hand = len(self.ready) + len(self.running)
        if in_hand and size <= 0:
            return 0
        return max(0, min(STEP, self.limits.concurrency + self.ahead - in_hand))

    def _well_supplied(self) -> bool:
        """Whether all slots are taken and so much is ready that more can come in one go later."""
        return (
            len(self.running) >= self.limits.concurrency
            and len(self.ready) > max(self.ahead // 2, 8)
            and len(self.done) < STEP
            and not self.failed
            and time.monotonic() - self.stepped < 2 * PAUSE
        )

    def _look_ahead(self, ended: int) -> None:
        """Measure anew, now and then, how many items end in AHEAD seconds."""
        self.ended += ended
        passed = time.monotonic() - self.counted
        if passed >= AHEAD:
            self.ahead = min(2 * STEP, int(self.ended * AHEAD / passed))
            self.ended, self.counted = 0, time.monotonic()

    def _bytes_free(self) -> int:
        held = sum(len(item) for _, item in self.ready)
        return self.hand_bytes - held - sum(run.size for run in self.running.values())

    def _until_tend(self) -> float:
        return max(0.05, self.tended + TEND - time.monotonic())

    async def _change(self, within: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.changed.wait()

    # tasks

    def _start(self) -> None:
        """Start what is ready while slots are free, for one spell."""
        self.starting = False
        if self.stopping:
            return
        ready, running, loop = self.ready, self.running, self.loop
        concurrency, text, threaded = self.limits.concurrency, self.text, self.threaded
        spawn, perform, monotonic = _spawn, self._perform, time.monotonic
        now = monotonic()
        end = now + SPELL
        deadline = now + self.limits.job_timeout
        if ready and len(running) < concurrency:
            self.started = now
        while ready and len(running) < concurrency and monotonic() < end:
            each, item = ready.popleft()
            try:
                argument = item.decode() if text else item
            except UnicodeDecodeError:
                self._fail(each, "the task takes str, and this is not UTF-8", final=True)
                continue
            if threaded:
                if not self._start_thread(each, argument):
                    ready.appendleft((each, item))
                    break
                running[each] = Running(None, deadline, len(item))
                continue
            task = spawn(loop, perform(each, argument))
            if not task.done():
                running[each] = Running(task, deadline, len(item))
        if running and self.sweeper is None:
            self._sweep()

    def _start_thread(self, each: int, argument: str | bytes) -> bool:
        """Whether a thread could be started; if not, no more are asked for from now on.

        Raises RuntimeError if not even one can be had.
        """
        try:
            threading.Thread(target=self._thread, args=(each, argument), daemon=True).start()
        except RuntimeError:
            if not self.running:
                raise
            self.limits = replace(self.limits, concurrency=len(self.running))
            logger.warning("no more threads to be had: CONCURRENCY is %d now", len(self.running))
            return False
        return True

    def _thread(self, each: int, argument: str | bytes) -> None:
        error: BaseException | None = None
        try:
            result = self.work(argument)
            if inspect.isawaitable(result) or inspect.isgenerator(result):
                raise TypeError("it returned what nobody awaits: make it async def")
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self.loop.call_soon_threadsafe(self._ended, each, error)

    async def _perform(self, each: int, argument: str | bytes) -> None:
        error = None
        try:
            await self.work(argument)
        except BaseException as raised:  # an exit would end the event loop, and all that is in hand
            error = raised
        self._ended(each, error)

    def _ended(self, each: int, error: BaseException | None) -> None:
        run = self.running.pop(each, None)
        if not run or not run.overdue:
            if error is None:
                self.done.append(each)
            else:
                self._fail(each, _described(error), error)
        self.changed.set()
        if self.ready and not self.starting:
            # Once for all that end in this turn of the loop.
            self.starting = True
            self.loop.call_soon(self._start)

    def _fail(
        self, each: int, why: str, error: BaseException | None = None, final: bool = False
    ) -> None:
        failures = self.histories.pop(each, FRESH).failures + 1
        attempts = 1 if final else self.limits.max_attempts
        most = min(BACKOFF_MOST, BACKOFF * 2 ** min(failures - 1, 30))
        delay = random.uniform(0, most)  # noqa: S311 no secret: it spreads retries
        fate = "given up" if failures >= attempts else f"again in {delay:.1f} s"
        # As the retries show it. Not what the item holds, which may be a secret.
        name = f"{self.consumer.name}#{each}"
        logger.warning("item %s failed, %s (%d of %d): %s", name, fate, failures, attempts, why,
                       exc_info=error)  # fmt: skip
        self.failed[each] = (delay, attempts, why)

    def _sweep(self) -> None:
        """Charge what has run too long; come back when the next may have."""
        now = time.monotonic()
        self.sweeper = None
        for each, run in self.running.items():
            if run.overdue:
                continue
            if run.deadline > now:
                self.sweeper = self.loop.call_later(run.deadline - now, self._sweep)
                break
            run.overdue = True
            self._fail(each, f"ran longer than JOB_TIMEOUT, {self.limits.job_timeout:g} s")
            self._cancel(each, run)
            self.changed.set()

    def _cancel(self, each: int, run: Running) -> None:
        if run.task:
            # Of one that has not begun yet, `_perform` does not see the end.
            run.task.add_done_callback(lambda _: self.running.pop(each, None))
            run.task.cancel()


def _refusal(error: ResponseError) -> Exception:
    return GoneError() if str(error).startswith("GONE") else error


def _described(error: BaseException) -> str:
    """The exception in a line that Redis takes, whatever its text is made of."""
    try:
        text = str(error)
    except Exception:
        text = "(it cannot say why)"
    line = f"{type(error).__name__}: {text}"[:1000]
    return line.encode(errors="backslashreplace").decode()


def _takes_text(work: Work) -> bool:
    """Whether the type hint of the task's only argument says str rather than bytes.

    Raises TypeError if it says neither.
    """
    hints = [each.annotation for each in inspect.signature(work).parameters.values()]
    # By name where the module postpones its annotations; other hints of it may not resolve here.
    hint = {"str": str, "bytes": bytes}.get(hints[0], hints[0]) if len(hints) == 1 else None
    if hint not in (str, bytes):
        name = getattr(work, "__name__", repr(work))
        raise TypeError(f"{name}() must take one argument, with the type hint str or bytes")
    return hint is str


if sys.version_info >= (3, 12):

    def _spawn(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        # It has run up to its first wait when this returns: most have ended then.
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def _spawn(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        return loop.create_task(coroutine)
