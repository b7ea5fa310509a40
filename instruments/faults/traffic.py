"""A few requests a second on fresh and on kept connections, and numbered items pushed."""

import contextlib
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PAUSE = 0.2
"""Seconds between two requests of a client, and between two pushes."""
TIMEOUT = 5.0
"""Seconds after which a client gives up on its request."""


@dataclass(frozen=True)
class Request:
    """One request of the client `client`, by the monotonic clock; `error` is empty if it held."""

    client: str
    begun: float
    ended: float
    error: str


class Load:
    """What people do meanwhile, each in a thread of their own."""

    CLIENTS = ("fresh", "kept-1", "kept-2")

    def __init__(self, port: int, redis_port: int) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.pushed: dict[str, float] = {}
        """Item -> when Redis had confirmed it."""
        never = Retry(NoBackoff(), 0)
        self.stall = 0.0
        """The longest time, in seconds, that this process itself was late."""
        self._redis = redis.Redis(port=redis_port, socket_timeout=1.0, retry=never)
        self._stop = threading.Event()
        self._push = threading.Lock()
        self._number = 0
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in self.CLIENTS]
        self._threads.append(threading.Thread(target=self._push_on))
        self._threads.append(threading.Thread(target=self._watch_the_machine))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._redis.close()

    def push(self, kind: str = "") -> str | None:
        """Push the next numbered item; returns it if Redis has confirmed."""
        with self._push:
            # Never again the number of one whose confirmation was lost: it may be there.
            self._number += 1
            item = f"item {self._number} {kind}."
            with contextlib.suppress(redis.RedisError, OSError):
                self._redis.lpush("TESTING", item)
                self.pushed[item] = time.monotonic()
                return item
        return None

    def _push_on(self) -> None:
        while not self._stop.wait(PAUSE):
            self.push()

    def _watch_the_machine(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(PAUSE):
            self.stall = max(self.stall, time.monotonic() - before - PAUSE)
            before = time.monotonic()

    def _ask(self, client: str) -> None:
        connection: HTTPConnection | None = None
        while not self._stop.wait(PAUSE):
            begun = time.monotonic()
            error = ""
            connection = connection or HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
            try:
                connection.request("GET", "/")
                with connection.getresponse() as answer:
                    if (answer.status, answer.read()) != (200, b"Hello, world!"):
                        error = f"status {answer.status}"
            except (OSError, HTTPException) as failure:
                error = type(failure).__name__
            self.requests.append(Request(client, begun, time.monotonic(), error))
            if error or client == "fresh":
                connection.close()
                connection = None
        if connection:
            connection.close()
