"""Clients of every kind against a web server, and a count of their failures.

As a program: python -m tests.supervision.load PORT SECONDS
"""

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

REQUEST = b"GET / HTTP/1.1\r\nHost: load\r\n\r\n"
# A browser or a proxy looks whether the server has closed before it uses a connection again.
PAUSE = 0.3


@dataclass
class Load:
    """Counts while it runs; `failures` tells what went wrong how often, by kind of client."""

    port: int
    rest: float = 0.0
    """Seconds that also busy clients may pause between two requests."""
    done: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    running: bool = True

    async def run(self) -> None:
        """Until `running` is unset: eight busy clients and two to four of every other kind."""
        clients = [
            *(self._client("busy", self.rest) for _ in range(8)),
            *(self._client("pausing", PAUSE) for _ in range(4)),
            *(self._fresh() for _ in range(2)),
            *(self._silent() for _ in range(4)),
            *(self._slow() for _ in range(4)),
        ]
        await asyncio.gather(*clients)

    def stop(self) -> None:
        self.running = False

    async def _client(self, kind: str, pause: float) -> None:
        """Keeps its connection, and pauses between two requests."""
        while self.running:
            with self._counting(kind):
                reader, writer = await self._open()
                try:
                    while self.running:
                        if reader.at_eof():
                            break
                        writer.write(REQUEST)
                        last = await _answer(reader)
                        self.done[kind] += 1
                        if last:
                            break
                        if pause:
                            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311
                finally:
                    writer.close()

    async def _fresh(self) -> None:
        """A new connection for every request."""
        while self.running:
            with self._counting("fresh"):
                await self._once("fresh", [REQUEST], 0)
            await asyncio.sleep(self.rest or 0.002)

    async def _silent(self) -> None:
        """Connects, and asks only after a while."""
        while self.running:
            with self._counting("silent"):
                await self._once("silent", [b"", REQUEST], PAUSE)

    async def _slow(self) -> None:
        """Sends its request in pieces."""
        while self.running:
            with self._counting("slow"):
                await self._once("slow", [REQUEST[:9], REQUEST[9:20], REQUEST[20:]], PAUSE / 3)

    async def _once(self, kind: str, pieces: list[bytes], pause: float) -> None:
        reader, writer = await self._open()
        try:
            for piece in pieces[:-1]:
                writer.write(piece)
                await asyncio.sleep(pause)
            writer.write(pieces[-1])
            await _answer(reader)
            self.done[kind] += 1
        finally:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    @contextlib.contextmanager
    def _counting(self, kind: str):  # type: ignore[no-untyped-def]
        try:
            yield
        except (OSError, EOFError, ValueError) as error:
            self.failures[f"{kind}: {type(error).__name__}"] += 1


async def _answer(reader: asyncio.StreamReader) -> bool:
    """Read one answer whole; returns whether it is the connection's last."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines if line)
        await reader.readexactly(int(headers[b"content-length"]))
    if b" 200 " not in status:
        raise ValueError(status)
    return headers.get(b"connection") == b"close"


def main() -> None:
    load = Load(int(sys.argv[1]))
    end = time.monotonic() + float(sys.argv[2])

    async def timed() -> None:
        run = asyncio.create_task(load.run())
        await asyncio.sleep(end - time.monotonic())
        load.stop()
        await run

    asyncio.run(timed())
    failed = sum(load.failures.values())
    print(f"{failed} failed of {sum(load.done.values()) + failed}")
    for kind, count in sorted((load.done + load.failures).items()):
        print(f"  {kind}: {count}")


if __name__ == "__main__":
    main()
