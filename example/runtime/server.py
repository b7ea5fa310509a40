"""The ASGI server: uvicorn on a socket that outlives it, stopped without failing a request."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from . import listen, options
from .health import Probes, Redis
from .limits import Limits, quiet_seconds
from .process import Process, StoppedError
from .streams import Streams

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SLOW_SECONDS = 10.0
"""If the application's startup takes longer, that is logged."""
LINGER_LEAST = 0.05
LINGER_MOST = 1.0
"""How long a stopping server goes on to answer connections that the kernel has already accepted."""
QUIET_SECONDS = 1.0
"""A connection on which nothing came for so long may be closed at once."""
CUT_SECONDS = 0.5
"""How long requests that are cut off may take to notice it."""
SHUTDOWN_SECONDS = 1.5
"""How long the application's shutdown may take after the drain; less than AFTER_DRAIN."""


async def serve(
    process: Process, app: object, redis: Redis, host: str, port: int, drain_seconds: float
) -> None:
    """Serve the ASGI application `app`, with /livez and /readyz, until `process` is told to stop.

    Serves on the listening socket at descriptor 0 if there is one, else on `host`:`port`. Exits
    with status 2 if an option UVICORN_* is wrong. Exits with 3, as uvicorn does, if it cannot
    listen on the address, or if the application's startup fails.
    """
    process.drain_seconds = drain_seconds
    config = _configure(app)
    listeners = listen.listeners(host, port, config.backlog)
    if listeners[0].family == socket.AF_UNIX:
        config.loaded_app = _Local(config.loaded_app)
    streams = Streams(Probes(config.loaded_app, redis, config.root_path))
    config.loaded_app = streams
    logging.getLogger("uvicorn.error").addFilter(streams.is_a_fault)
    where = " ".join(listen.address(each, "https" if config.ssl else "http") for each in listeners)
    await Server(config, process, where, streams, drain_seconds).serve(sockets=listeners)


def _configure(app: Any) -> uvicorn.Config:
    try:
        chosen = {"backlog": listen.backlog(), **options.read()}
        # uvicorn's other lines repeat ours.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
        # Otherwise it reads WEB_CONCURRENCY, which some hosts set.
        config = uvicorn.Config(app, log_config=None, workers=1, **chosen)
        if config.ws == "auto":
            config.ws = _websocket  # type: ignore[assignment]
        config.load()
    except options.OptionsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ssl.SSLError as error:
        print(f"wrong setting: UVICORN_SSL_…: {error}", file=sys.stderr)
        sys.exit(2)
    return config


def _websocket(**parts: Any) -> asyncio.Protocol:
    """uvicorn's own choice, imported with the first WebSocket: the import takes time and memory."""
    from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

    assert AutoWebSocketsProtocol
    return AutoWebSocketsProtocol(**parts)


class _Local:
    """An application on a Unix socket: all its clients are on this machine."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and not scope.get("client"):
            # Without an address no proxy would be trusted: see FORWARDED_ALLOW_IPS.
            scope["client"] = ("127.0.0.1", 0)
        await self._app(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn's server with `Process`'s signals and a stop that fails no request."""

    def __init__(
        self,
        config: uvicorn.Config,
        process: Process,
        where: str,
        streams: Streams,
        drain_seconds: float,
    ) -> None:
        super().__init__(config)
        self.process = process
        self.where = where
        self.streams = streams
        self.drain_seconds = drain_seconds
        self.limits = Limits(self.server_state.connections)
        config.http_protocol_class = self.limits.over(config.http_protocol_class)
        self._status = ""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Process handles the signals. uvicorn would raise them again at the end.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        watch = asyncio.create_task(self._watch_startup())
        try:
            async with self.process.until_stop():
                with _tell_of_dead_tasks():
                    await super().startup(sockets)
        except StoppedError:
            logger.warning("told to stop before the application had started")
            self.should_exit = True
            await self.streams.end()
            # What it has begun may not end: a thread, say.
            self.process.exit_at_once = 0
            return
        finally:
            watch.cancel()
        self.process.ready(f"serving on {self.where}")

    async def _watch_startup(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        told = False
        self.process.status("the application starts")
        while True:
            await asyncio.sleep(SLOW_SECONDS)
            took = loop.time() - start
            self.process.status(f"the application has been starting for {took:.0f} s")
            if not told:
                logger.warning("the application's startup takes more than %.0f s", SLOW_SECONDS)
                told = True

    async def process_stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.stopping.wait(), seconds)
        return self.process.stopping.is_set()

    async def main_loop(self) -> None:
        loop = asyncio.get_running_loop()
        # `on_tick(0)` does all that any tick of uvicorn's does.
        while not await self.on_tick(0):
            self.limits.sweep(loop.time())
            self._tell()
            if await self.process_stops_within(TICK_SECONDS):
                break
        else:
            self.process.end(f"answered {self.server_state.total_requests} requests")
        # Libraries, such as sse-starlette, replace this method to be told of the stop.
        self.handle_exit(signal.SIGTERM, None)

    def _tell(self) -> None:
        requests, connections = self.server_state.total_requests, len(self.server_state.connections)
        status = f"serving on {self.where}, {requests} answered, {connections} connections open"
        if status != self._status:
            self._status = status
            self.process.status(status, requests=requests, connections=connections)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.drain_seconds
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._say_that_it_is_the_last()
        await asyncio.gather(self.streams.end(), self._linger())
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drain(end - loop.time())
        await self._end_application(end + SHUTDOWN_SECONDS)

    def _say_that_it_is_the_last(self) -> None:
        # uvicorn would drop a connection whose request has not arrived yet. It is answered instead,
        # with the header that says that it was the last on this connection.
        closing = (b"connection", b"close")
        self.config.encoded_headers.append(closing)
        self.server_state.default_headers.append(closing)

    async def _linger(self) -> None:
        """Wait for requests that may be on their way: until all connections have been quiet."""
        loop = asyncio.get_running_loop()
        connections = self.server_state.connections

        def quiet() -> bool:
            return all(quiet_seconds(each, loop.time()) > QUIET_SECONDS for each in connections)

        await asyncio.sleep(LINGER_LEAST)
        await _until(quiet, LINGER_MOST)

    async def _drain(self, seconds: float) -> None:
        """Give the open requests so many seconds to end, and cut off the rest."""
        state = self.server_state
        if await _until(lambda: not (state.connections or state.tasks), seconds):
            return
        left = max(len(state.connections), len(state.tasks))
        logger.warning("%d requests cut off: not done after %g s", left, self.drain_seconds)
        for connection in list(state.connections):
            connection.transport.abort()
        # A plain function runs on in its thread, which would hold up the exit.
        self.process.exit_at_once = 0
        # Some tasks notice that their client is gone, and end by themselves.
        await asyncio.sleep(LINGER_LEAST)
        for task in state.tasks:
            task.cancel()
        await _until(lambda: not state.tasks, CUT_SECONDS)

    async def _end_application(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self.lifespan.shutdown()
        except TimeoutError:
            logger.error("the application's shutdown does not end: abandoned")
            self.process.exit_at_once = 0


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition for so many seconds at most. Returns whether it came true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (came := condition()) and loop.time() < end:  # noqa: ASYNC110 uvicorn's sets tell nobody when they change
        await asyncio.sleep(0.01)
    return came


@contextlib.contextmanager
def _tell_of_dead_tasks() -> Iterator[None]:
    """Log each failure of a task that begins meanwhile, unless somebody asks for its result.

    asyncio itself logs it only when nothing refers to the task any more. The application keeps the
    tasks of its startup as long as it lives.
    """

    def create(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        task.add_done_callback(lambda task: loop.call_later(TICK_SECONDS, _tell_if_it_died, task))
        return task

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(create)
    try:
        yield
    finally:
        loop.set_task_factory(before)


def _tell_if_it_died(task: "asyncio.Task[Any]") -> None:
    if task._log_traceback:
        logger.error("background task %s died", task.get_name(), exc_info=task.exception())
