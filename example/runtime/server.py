"""The ASGI server: uvicorn on a socket that outlives it, stopped without failing a request."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import Iterator

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from .health import Probes, Redis
from .process import Process

logger = logging.getLogger(__name__)

# How long a stopping server goes on to answer connections that the kernel has already accepted.
LINGER_LEAST = 0.05
LINGER_MOST = 1.0


async def serve(
    process: Process, app: object, redis: Redis, host: str, port: int, drain_seconds: float
) -> None:
    """Serve the ASGI application `app`, with /livez and /readyz, until `process` is told to stop.

    On the listening socket at descriptor 0 where there is one, else on `host`:`port`.
    Exits with status 3, uvicorn's own for this, if the address cannot be had or the
    application's start-up fails.
    """
    listener = inherited_socket() or bind(host, port)
    # Its access log would cost more than the answer; its other lines repeat ours.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    config.load()
    config.loaded_app = Probes(config.loaded_app, redis, config.root_path)
    await Server(config, process, address(listener)).serve(sockets=[listener])


def inherited_socket() -> socket.socket | None:
    """The listening socket at descriptor 0, as `[fcgi-program]` and inetd hand it down.

    A copy with its real family and protocol: uvicorn's own `--fd` takes any socket for a Unix
    one, so the event loop leaves out TCP_NODELAY and keep-alive answers wait 40 ms each.
    """
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return None
    listener = socket.socket(fileno=os.dup(0))
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listening:
        listener.close()
        return None
    return listener


def bind(host: str, port: int) -> socket.socket:
    """A listening socket of our own on `host`:`port`."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(2048)
    except OSError as error:
        hint = (
            "another program listens there: stop it, or set PORT"
            if error.errno == errno.EADDRINUSE
            else "set HOST and PORT to an address that this machine may use"
        )
        logger.error("cannot listen on %s:%s: %s; %s", host, port, error.strerror, hint)
        sys.exit(STARTUP_FAILURE)
    return listener


def address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


class Server(uvicorn.Server):
    """uvicorn's server with `Process`'s signals and a stop that fails no request."""

    def __init__(self, config: uvicorn.Config, process: Process, where: str) -> None:
        super().__init__(config)
        self.process = process
        self.where = where

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Process has taken note of signals already; uvicorn would raise them again at the end.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.process.ready(f"serving on {self.where}")

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.stopping.wait(), 0.1)
                self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await self._linger()
        await super().shutdown(sockets)

    async def _linger(self) -> None:
        # uvicorn drops a connection whose request has not arrived yet. Answer it instead, with
        # the word that it was the last on this connection.
        closing = (b"connection", b"close")
        self.config.encoded_headers.append(closing)
        self.server_state.default_headers.append(closing)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(LINGER_LEAST)
        while self.server_state.connections and loop.time() - start < LINGER_MOST:  # noqa: ASYNC110 uvicorn's set tells nobody when it changes
            await asyncio.sleep(0.01)
