"""example-queue: what an operator sees of the queue, and does about it.

In this process, which saves the time that Python takes to start; test_queue_script.py has the rest.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from example.runtime.producer import SyncProducer
from example.runtime.queue import keys
from example.runtime.runs import CLASSES
from example.view import queue_command

from ..server import Server

KEY = "TESTING"
RETRY, DEAD, TICKS, TOTALS, SAMPLES = (
    f"{{{KEY}}}:{name}" for name in ("retry", "dead", "ticks", "totals", "samples")
)
ODD = b"\0\xff\x1b[2J 'quoted'\n"

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(redis: Server) -> Run:
    """Runs it in this process: run("push", "a", stdin=b"", REDIS_KEY="X")."""

    def begin(
        *arguments: str | bytes, stdin: bytes = b"", **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        argv = ["example-queue", *map(os.fsdecode, arguments)]
        streams: dict[str, Any] = {
            name: io.TextIOWrapper(io.BytesIO(said), "utf-8", write_through=True)
            for name, said in (("stdin", stdin), ("stdout", b""), ("stderr", b""))
        }
        with (
            mock.patch.multiple(sys, argv=argv, **streams),
            mock.patch("gc.freeze"),  # it is for a process that ends
            mock.patch.dict(os.environ, {"REDIS_URL": redis.url} | environ, clear=True),
            pytest.raises(SystemExit) as ended,
        ):
            queue_command.main()
        out, err = (streams[name].buffer.getvalue() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(argv, int(ended.value.code or 0), out, err)

    return begin


def told(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


def bury(redis: Server, *items: bytes) -> list[str]:
    fields = {"why": "ValueError: \x1b]0;no", "failures": 5, "deaths": 1}
    client: Any = redis.client
    return [client.xadd(DEAD, {"item": item} | fields).decode() for item in items]


def sample(redis: Server, seconds_ago: float = 0.0) -> None:
    """Have a worker or beat been heard of so long ago."""
    at = round((time.time() - seconds_ago) * 1000)
    redis.client.rpush(SAMPLES, f"{at}" + " 0" * (7 + CLASSES))


def test_a_full_queue_is_not_well(redis: Server, run: Run) -> None:
    """With --check the exit status tells a monitor."""
    redis.client.lpush(KEY, *"abc")
    full = b"  ! The queue is full (QUEUE_LIMIT=3): pushes are refused\n"
    for arguments, limit, status, is_told in (
        (["status", "--check"], "3", 1, True),
        (["status", "--check"], "4", 1, False),
        (["status"], "3", 0, True),
    ):
        done = run(*arguments, QUEUE_LIMIT=limit)
        assert (done.returncode, full in done.stdout) == (status, is_told)


def test_that_no_more_can_be_pushed_with_once_is_not_well(redis: Server, run: Run) -> None:
    """These items are due at once, and counted apart from those on the list."""
    producer = SyncProducer(redis.url, KEY, limit=3)
    for item in "abc":
        producer.push(item, once=item)
    status = run("status", "--check", QUEUE_LIMIT="3")
    full = b"  ! No more items can be pushed for later, or with `once` (QUEUE_LIMIT=3)\n"
    assert (status.returncode, full in status.stdout) == (1, True)
    assert full not in run(QUEUE_LIMIT="4").stdout


def test_the_status_tells_what_is_wrong_first(redis: Server, run: Run) -> None:
    sample(redis)
    redis.client.lpush(KEY, *"abc")
    bury(redis, b"x")
    lines = run().stdout.decode().splitlines()
    assert lines[:3] == [
        f"{KEY} at {redis.url}",
        "  ! Items wait, and no worker takes them",
        "  ! The dead list is not empty",
    ]


def test_that_neither_worker_nor_beat_runs_is_told(redis: Server, run: Run) -> None:
    """Nobody knows then how long items wait that came since; and a wrong key is noticed."""
    assert b"  ! No worker or beat has ever used this queue: is REDIS_KEY right?" in run().stdout
    sample(redis, seconds_ago=3600)
    assert b"  ! No worker or beat has reported since " in run().stdout
    redis.client.lpush(KEY, "new")
    done = run("status", "--check")
    assert (done.returncode, b"the oldest for an unknown time" in done.stdout) == (1, True)
    assert told(run("--json"))["oldest_seconds"] is None
    sample(redis)
    assert b"reported" not in run().stdout


def test_a_redis_that_refuses_to_write_is_told(redis: Server, run: Run) -> None:
    """What is only looked at would seem well; and looking has changed nothing."""
    sample(redis)
    client: Any = redis.client
    for setting, wrong, right, why in (
        ("maxmemory", "1", "0", b"OOM command not allowed when used memory > 'maxmemory'"),
        ("min-replicas-to-write", "1", "0", b"NOREPLICAS Not enough good replicas to write"),
    ):
        client.config_set(setting, wrong)
        done = run("status", "--check")
        assert (done.returncode, done.stdout.count(b"  ! ")) == (1, 1)
        assert b"  ! Redis refuses to write: " + why in done.stdout
        client.config_set(setting, right)
    client.replicaof("127.0.0.1", 1)
    assert b"  ! Redis refuses to write: READONLY" in run().stdout
    assert client.keys() == [SAMPLES.encode()]


def test_a_value_of_another_program_is_named_and_hides_nothing_else(
    redis: Server, run: Run
) -> None:
    sample(redis)
    odd: Any = {"taken": "x", b"\xff": "7", "failed": "9" * 5000, "missed:ok": "?", "came": "4"}
    redis.client.hset(TOTALS, mapping=odd)
    redis.client.hset(
        TICKS, mapping={"ok": str(1 << 62), "past": "-1", "\x1b[2J": "x", "good": "1000"}
    )
    redis.client.rpush(SAMPLES, "x", "9" * 400 + " 0" * 20)
    redis.client.set(RETRY, "x")
    status = told(run("--json"))
    assert status["totals"]["pushed"] == 4
    assert status["schedule"] == [{"name": "good", "last": 1.0, "missed": 0}]
    out = run().stdout.decode()
    (line,) = [each for each in out.splitlines() if "Cannot be read" in each]
    assert {*line.removeprefix("  ! Cannot be read, and counts as empty: ").split(", ")} == {
        RETRY, f"{TICKS} ok", f"{TICKS} past", f"{TICKS} \\x1b[2J",
        f"{TOTALS} taken", f"{TOTALS} failed", f"{TOTALS} missed:ok",
    }  # fmt: skip


@pytest.mark.parametrize("key", keys(KEY))
def test_no_key_of_another_type_is_a_traceback(redis: Server, run: Run, key: str) -> None:
    redis.client.set(key, "x")
    for words in ([], ["dead"], ["requeue", "all"], ["drop", "all"], ["retry-now"], ["push", "a"]):
        done = run(*words)
        if done.returncode or done.stderr:
            assert done.stderr.startswith(b"Redis refuses at "), words
            assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert redis.client.get(key) == b"x"


def test_the_names_in_json_are_stable(redis: Server, run: Run) -> None:
    sample(redis)
    redis.client.lpush(KEY, *"abc")
    bury(redis, b"x")
    status = told(run("--json"))
    moving = {name: status[name] for name in ("time", "rates", "oldest_seconds", "troubles")}
    assert status == told(run("status", "--json")) | moving
    assert {name: status[name] for name in ("waiting", "in_hand", "retrying", "later", "dead")} == {
        "waiting": 3, "in_hand": 0, "retrying": 0, "later": 0, "dead": 1,
    }  # fmt: skip
    assert status["workers"] == 0
    assert status["totals"]["pushed"] == 3
    assert status["troubles"] == [
        "Items wait, and no worker takes them",
        "The dead list is not empty",
    ]
    assert {"oldest_seconds", "oldest_is_least", "rates", "run_seconds", "schedule"} <= {*status}


def test_the_dead_are_listed_safely(redis: Server, run: Run) -> None:
    """No escape sequence reaches the terminal, nor do megabytes."""
    (first, second) = bury(redis, ODD, b"x" * 10**7)
    out = run("dead").stdout
    assert out.index(second.encode()) < out.index(first.encode())
    assert b"ValueError: \\x1b]0;no" in out
    assert rb"\x00\xff\x1b[2J 'quoted'\n" in out
    assert b"5 failed attempts, 1 worker died, 10,000,000 bytes" in out
    assert len(out) < 2000
    assert not {*out} & {*b"\0\x1b\r"}
    (newest,) = told(run("dead", "--count", "1", "--json"))["items"]
    assert (newest["id"], newest["size"], newest["failures"]) == (second, 10**7, 5)


def test_an_empty_dead_list_is_shown(run: Run) -> None:
    assert run("dead").stdout == b"none\n"
    assert told(run("dead", "--json")) == {"items": []}


def test_what_is_no_item_on_the_dead_list_is_never_pushed(redis: Server, run: Run) -> None:
    """It is told, can be dropped, and holds up no item behind it."""
    client: Any = redis.client
    odd = [client.xadd(DEAD, {"what": "x", "failures": "x"}).decode() for _ in range(40)]
    bury(redis, b"a")
    assert b"holds no item: not of this queue" in run("dead", "--count", "3").stdout
    assert run("requeue", odd[0]).returncode == 1
    assert run("requeue", "all").stdout == b"1 requeued\n"
    assert redis.client.lrange(KEY, 0, -1) == [b"a"]
    assert run("drop", odd[0], "all").stdout == b"40 dropped\n"


def test_dead_items_are_dropped(redis: Server, run: Run) -> None:
    ids = bury(redis, b"a", b"b", b"c", b"d")
    assert told(run("--json", "drop", *ids[:2])) == {"dropped": 2, "unknown": []}
    assert run("drop", "all").stdout == b"2 dropped\n"
    assert redis.client.llen(KEY) == 0


@pytest.mark.parametrize("what", ["requeue", "drop"])
def test_an_unknown_id_is_reported(redis: Server, run: Run, what: str) -> None:
    """The other ids are handled."""
    (known,) = bury(redis, b"a")
    done = run(what, "1-1", known, "x\x1b")
    assert done.returncode == 1
    assert done.stderr == b"no dead item has the id '1-1'\nno dead item has the id 'x\\x1b'\n"
    assert redis.client.xlen(DEAD) == 0


def test_what_is_to_be_retried_is_tried_now(redis: Server, run: Run) -> None:
    redis.client.zadd(f"{{{KEY}}}:retry", {"x#1 0 1 a": 10**14, "x#2 0 1 b": 1})
    assert run("retry-now").stdout == b"1 tried now\n"
    assert told(run("retry-now", "--json")) == {"retried": 0}


@pytest.mark.parametrize("limit", ["1", "2"])
def test_all_are_pushed_or_none(redis: Server, run: Run, limit: str) -> None:
    redis.client.lpush(KEY, "there")
    done = run("push", "a", "b", QUEUE_LIMIT=limit)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"queue full: no room" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert redis.client.llen(KEY) == 1


def test_an_item_that_redis_does_not_take_is_no_outage(folder: Path, run: Run) -> None:
    """Redis closes the connection without a word, or with the first words of one."""
    with Server(folder / "small", "--proto-max-bulk-len", "1mb") as small:
        done = run("push", stdin=b"x" * (2 << 20), REDIS_URL=small.url)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Redis refuses at redis://127.0.0.1:")
    assert b"; it takes no 2,097,152 bytes, 2,097,152 of one item: see its proto-max" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_key_of_another_program_is_no_empty_queue(redis: Server, run: Run) -> None:
    """One line, without the place in our script."""
    redis.client.set(KEY, "x")
    for arguments in ([], ["push", "a"]):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"Redis refuses at redis://127.0.0.1:")
        assert done.stderr.endswith(b", set REDIS_KEY to another name\n")
        assert b"script" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["help"], {}),
        (["requeue"], {}),
        (["dead", "--count", "0"], {}),
        (["dead", "--count", "x"], {}),
        ([], {"REDIS_URL": "nonsense"}),
    ],
)
def test_what_is_wrong_ends_with_status_2(
    run: Run, arguments: list[str], environ: dict[str, str]
) -> None:
    done = run(*arguments, **environ)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr
