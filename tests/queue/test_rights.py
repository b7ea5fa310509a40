"""What a server or a user lacks is named before anything is taken, and later costs no item."""

import asyncio
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from example.runtime import dead, snapshot
from example.runtime.link import Connection
from example.runtime.queue import SOURCE, VIEW_SOURCE
from example.runtime.rights import LackingError, ensure

from ..conftest import Popen
from ..server import Server, old_server_program, server_programs
from .test_recipes import RECIPES
from .workers import KEY, Workers

BEAT = """
import asyncio, sys
from example.runtime import beat, log, process

async def main():
    async with process.Process("beat") as this:
        await beat.run(this, sys.argv[1], "TESTING", {"x": beat.Every(0.1, "tick")}, 10**9)

log.configure("info", "text")
process.run(main)
"""
RIGHTS = "Which rights do the programs need?"
COMMANDS = {
    user: re.findall(r"\+([a-z]+)\b(?!\|)", recipe)
    for user, recipe in zip(("worker", "beat", "app", "view"), RECIPES[RIGHTS], strict=True)
}


def user_url(server: Server, user: str) -> str:
    return server.url.replace("://", f"://{user}:secret@")


def set_user(server: Server, user: str, *rules: str) -> None:
    client: Any = server.client
    client.execute_command("ACL", "SETUSER", user, *rules)


def with_users(server: Server) -> Server:
    """`server`, once it has the documented users."""
    for recipe in RECIPES[RIGHTS]:
        _, _, _, user, *rules = shlex.split(recipe)
        set_user(server, user, *rules)
    return server


@pytest.fixture(params=["6.2", *server_programs()])
def any_server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    """A server of each kind and age that the queue works with, with the documented users."""
    program = server_programs().get(request.param) or old_server_program(request.param)
    with Server(folder / "redis", program=program) as server:
        yield with_users(server)


@pytest.fixture
def server(redis: Server) -> Server:
    """A server with the documented users."""
    return with_users(redis)


@pytest.fixture
def at(folder: Path) -> Iterator[Callable[[Server], Workers]]:
    """Workers that come as the user `worker`."""
    made: list[Workers] = []

    def make(server: Server) -> Workers:
        made.append(Workers(folder, server, user_url(server, "worker")))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def workers(server: Server, at: Callable[[Server], Workers]) -> Workers:
    return at(server)


@pytest.fixture
def beat(popen: Popen, server: Server) -> Callable[[], subprocess.Popen[str]]:
    return lambda: popen([sys.executable, "-c", BEAT, user_url(server, "beat")])


def test_the_documented_rights_are_enough(
    any_server: Server, at: Callable[[Server], Workers]
) -> None:
    """To work, to fail, to give up, to take over from a dead worker, and to leave."""
    workers = at(any_server)
    worker = workers.start(max_attempts=2)
    workers.push("nap 60", "fail", "a")
    workers.eventually(lambda: len(workers.dead()) == 1)
    workers.kill(worker)
    again = workers.start(max_attempts=1, drain_seconds=0.1)
    workers.push("die")
    workers.eventually(lambda: workers.told("start", again.pid))
    workers.eventually(lambda: again.poll() is not None)
    last = workers.start(drain_seconds=0.1)
    workers.eventually(lambda: workers.told("start", last.pid))
    workers.kill(last, 15)
    assert "refuses" not in "".join(workers.log(number) for number in range(3))


def test_all_that_a_worker_s_user_may_not_do_is_named_at_once(workers: Workers) -> None:
    """It takes nothing and is not ready until it has the rights."""
    set_user(workers.redis, "worker", "-hset", "-ltrim", "-blmove")
    workers.push("a", "b")
    workers.launch()
    workers.eventually(lambda: "Redis refuses" in workers.log())
    assert "the user has no right to run BLMOVE, LTRIM, HSET; retrying" in workers.log()
    assert "ready" not in workers.log()
    assert workers.redis.client.lrange(KEY, 0, -1) == [b"b", b"a"]
    set_user(workers.redis, "worker", "+hset", "+ltrim", "+blmove")
    workers.eventually(lambda: "ready" in workers.log())
    workers.eventually(lambda: workers.told("end") == ["a", "b"])
    assert workers.log().count("Redis refuses") == workers.log().count("Redis back") == 1


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_each_right_is_tried_and_named(any_server: Server, role: Literal["worker", "beat"]) -> None:
    """Which leaves no consumer behind, not even where none can be removed."""

    async def lacking() -> str:
        connection = Connection(user_url(any_server, role), KEY, ("SCRIPT", "LOAD", SOURCE))
        try:
            await ensure(connection, KEY, role)
        except LackingError as error:
            return str(error)
        finally:
            await connection.close()
        return ""

    assert asyncio.run(lacking()) == ""
    for command in COMMANDS[role]:
        set_user(any_server, role, f"-{command}")
        assert asyncio.run(lacking()) == f"the user has no right to run {command.upper()}"
        assert any_server.client.keys() in ([], [f"{{{KEY}}}:ticks".encode()])
        set_user(any_server, role, f"+{command}")


def test_the_documented_rights_are_enough_to_look_and_to_mend(any_server: Server) -> None:
    at = (user_url(any_server, "view"), KEY)
    client = any_server.client
    client.xadd(f"{{{KEY}}}:dead", {"item": "a"})
    client.zadd(f"{{{KEY}}}:retry", {"x#1 0 1 x": 1e15})

    async def do_all() -> None:
        assert (await snapshot.read(*at)).dead == 1
        (entry,) = await dead.dead(*at)
        assert await dead.requeue(*at, entry.id) == 1
        assert [await dead.drop(*at, each) for each in (entry.id, None)] == [0, 0]
        assert await dead.retry_now(*at) == 1

    asyncio.run(do_all())


def test_a_key_that_the_user_may_not_use_is_named(workers: Workers) -> None:
    set_user(workers.redis, "worker", "resetkeys", f"~{KEY}", f"~{{{KEY}}}:[!h]*")
    workers.launch()
    workers.eventually(lambda: "Redis refuses" in workers.log())
    assert (
        f"the user has no right to all of the keys {KEY} and {{{KEY}}}:*; retrying" in workers.log()
    )


def test_every_command_of_the_scripts_is_documented() -> None:
    """So each is tried. Otherwise a missing right would show in the middle of a script."""
    for source, users in ((SOURCE, ("worker", "beat")), (VIEW_SOURCE, ("worker", "beat", "view"))):
        called = re.findall(r"(?:call|if_right_type)\(\s*'([A-Z]+)'", source.decode())
        allowed = itertools.chain(*(COMMANDS[user] for user in users))
        assert {each.lower() for each in called} <= {*allowed}


@pytest.mark.parametrize("command", ["hset", "ltrim", "zadd"])
def test_a_right_that_goes_later_costs_no_item(workers: Workers, command: str) -> None:
    """Whatever is in the queue, in hand, failing or given back."""
    worker = workers.start(concurrency=2, drain_seconds=0.1)
    for number in range(100):
        workers.push(f"nap 0.02 {'fail' if number % 10 == 0 else ''} {number}")
    workers.eventually(lambda: len(workers.told("end")) > 10)
    set_user(workers.redis, "worker", f"-{command}")
    before = len(workers.told("start"))
    workers.eventually(lambda: "refuses" in workers.log() or len(workers.told("end")) > before)
    workers.kill(worker, 15)
    set_user(workers.redis, "worker", f"+{command}")
    workers.start(max_attempts=1)
    workers.eventually(lambda: len(workers.ended()) + len(workers.dead()) >= 100)
    workers.eventually(workers.at_rest)


def test_beat_is_not_ready_before_it_may_push_and_record(
    server: Server, beat: Callable[[], subprocess.Popen[str]]
) -> None:
    set_user(server, "beat", "-hset", "-llen")
    program = beat()
    assert program.stdout
    assert "the user has no right to run LLEN, HSET; retrying" in program.stdout.readline()
    set_user(server, "beat", "+hset", "+llen")
    said = [program.stdout.readline() for _ in range(3)]
    assert ["Redis back" in said[0], "ready" in said[1], "PUSH" in said[2]] == [True] * 3


def test_a_key_that_holds_something_else_is_named(workers: Workers) -> None:
    """The worker is not ready and leaves the key alone. Once the key is gone, it works."""
    workers.redis.client.set(KEY, "somebody's")
    workers.launch()
    told = f"something else than the queue is stored at {KEY}; retrying"
    workers.eventually(lambda: told in workers.logs[-1].read_text())
    assert "ready: " not in workers.logs[-1].read_text()
    assert workers.redis.client.getdel(KEY) == b"somebody's"
    workers.push("a")
    workers.eventually(lambda: workers.ended() == {"a": 1})


def test_a_server_that_evicts_is_warned_of(workers: Workers) -> None:
    """Only if it has a limit and may evict any key, and if the user may ask for that."""
    told = "throws away items when it is full: set maxmemory-policy noeviction, not allkeys-lru"
    client = workers.redis.client
    set_user(workers.redis, "worker", "+info")
    client.config_set("maxmemory-policy", "allkeys-lru")
    workers.start()
    assert told not in workers.log()
    client.config_set("maxmemory", "100mb")
    workers.start()
    assert told in workers.log()


def test_nothing_is_pushed_that_cannot_be_recorded(
    server: Server, beat: Callable[[], subprocess.Popen[str]]
) -> None:
    """A right that goes while beat runs: one line when that begins, one when it ends."""
    program = beat()
    assert program.stdout
    lines = iter(program.stdout.readline, "")
    assert any("PUSH" in line for line in lines)
    set_user(server, "beat", "-hset")
    assert any("Redis refuses" in line for line in lines)
    waiting = server.client.llen(KEY)
    set_user(server, "beat", "+hset")
    assert any("Redis back" in line for line in lines)
    said = [next(line for line in lines if "PUSH" in line) for _ in range(3)]
    assert server.client.llen(KEY) >= waiting + len(said)
    ticks: Any = server.client.hget(f"{{{KEY}}}:ticks", "x")
    assert int(ticks)


# servers that are too old


@pytest.fixture
def redis_5(folder: Path) -> Iterator[Server]:
    with Server(folder / "redis", program=old_server_program("5.0"), protocol=2) as server:
        yield server


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?protocol=2", "the server is older than Redis 6.2, or has another name for BLMOVE;"),
        (
            "",
            "it is older than Redis 6.2, which the queue needs; or, if only its HELLO was renamed",
        ),
    ],
)
def test_a_server_that_is_too_old_is_named_and_nothing_taken(
    redis_5: Server, folder: Path, query: str, told: str
) -> None:
    workers = Workers(folder, redis_5, redis_5.url + query)
    workers.push("a")
    try:
        worker = workers.launch()
        workers.eventually(lambda: "Redis refuses" in workers.log())
        assert told in workers.log()
        workers.kill(worker, 15)
        assert "ready" not in workers.log()
        assert "Redis back" not in workers.log()
        assert redis_5.client.lrange(KEY, 0, -1) == [b"a"]
    finally:
        workers.close()


def test_a_server_without_auth_does_not_bring_the_password_into_the_log(folder: Path) -> None:
    with Server(folder / "redis", "--rename-command", "AUTH", "", protocol=2) as server:
        url = server.url.replace("://", "://me:hunter2@") + "?protocol=2"
        workers = Workers(folder, server, url)
        try:
            workers.launch()
            workers.eventually(lambda: "unknown command" in workers.log())
            assert "hunter2" not in workers.log()
        finally:
            workers.close()


def test_hello_may_be_renamed(folder: Path) -> None:
    """The line names the option; with that it works."""
    with Server(folder / "redis", "--rename-command", "HELLO", "", protocol=2) as server:
        workers = Workers(folder, server)
        try:
            workers.launch()
            workers.eventually(lambda: "add ?protocol=2 to REDIS_URL" in workers.log())
            workers.url += "?protocol=2"
            workers.start()
            workers.push("a")
            workers.eventually(lambda: workers.told("end") == ["a"])
        finally:
            workers.close()
