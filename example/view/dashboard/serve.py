"""The page's server: uvicorn as for app, with the same limits for slow clients."""

import logging
import secrets
import sys
from collections.abc import Iterable
from typing import Any

import uvicorn

from ...runtime import listen, server
from ...runtime.process import Process
from ...runtime.streams import Streams
from .access import Access

BACKLOG = 128
DRAIN_SECONDS = 1.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


def access(token: str, hosts: Iterable[str]) -> tuple[Access, str]:
    """Access by `token`, or by a generated one if it is ''; and the query for the address to print.

    The query holds the generated token, which appears nowhere else. Exits with 2 if there is
    neither a token nor a terminal.
    """
    if token:
        return Access(token, hosts), ""
    if not sys.stdout.isatty():
        why = "is not set, and there is no terminal to show a generated one"
        print(f"wrong setting: DASHBOARD_TOKEN: {why}; see docs/dashboard.md", file=sys.stderr)
        sys.exit(2)
    token = secrets.token_urlsafe(32)
    return Access(token, hosts), f"?token={token}"


async def serve(process: Process, app: Any, host: str, port: int, query: str) -> None:
    """Serve `app` at `host`:`port` until `process` is told to stop.

    Prints the address if it has a `query`. Exits with 3 if it cannot listen there.
    """
    listeners = listen.listeners(host, port, BACKLOG, "DASHBOARD_")
    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws="none", lifespan="off", server_header=False
    )
    config.load()
    config.loaded_app = streams = Streams(config.loaded_app)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    where = " ".join(listen.address(each, "http") for each in listeners)
    if query:
        reached = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
        print(f"\n    http://{reached}:{port}/{query}\n", flush=True)
    process.drain_seconds = DRAIN_SECONDS
    await server.Server(config, process, where, streams, DRAIN_SECONDS).serve(sockets=listeners)
