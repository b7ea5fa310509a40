"""example-queue as a console script: its arguments, streams and exit status."""

import subprocess

import pytest

from ..launchers import SCRIPTS
from ..server import Server, free_port
from .test_queue_command import KEY, ODD, Run, bury, sample, told


@pytest.fixture
def script(redis: Server) -> Run:
    """Runs it: script("push", "a", stdin=b"", REDIS_KEY="X")."""

    def begin(
        *arguments: str | bytes, stdin: bytes = b"", **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [SCRIPTS / "example-queue", *arguments],
            input=stdin,
            capture_output=True,
            timeout=20,
            env={"REDIS_URL": redis.url, "PYTHONUTF8": "1"} | environ,
        )

    return begin


def test_the_status_of_a_quiet_queue_says_that_all_is_well(redis: Server, script: Run) -> None:
    sample(redis)
    for arguments in ((), ("status",)):
        done = script(*arguments)
        assert b"all is well" in done.stdout
        assert (done.returncode, done.stderr) == (0, b"")
    assert script("status", "--check").returncode == 0


def test_dead_items_are_requeued_byte_for_byte(redis: Server, script: Run) -> None:
    ids = bury(redis, ODD, b"b", b"c")
    assert script("requeue", ids[0]).stdout == b"1 requeued\n"
    assert redis.client.lrange(KEY, 0, -1) == [ODD]
    assert told(script("requeue", "all", "--json")) == {"requeued": 2, "unknown": []}
    assert redis.client.lrange(KEY, 0, -1) == [b"c", b"b", ODD]


@pytest.mark.parametrize(
    ("arguments", "stdin", "items"),
    [
        (["a", "b c", ""], b"", [b"a", b"b c", b""]),
        ([b"\xff"], b"", [b"\xff"]),
        (["--", "-x"], b"", [b"-x"]),
        ([], b"a\n\xff\0 b\n\nc", [b"a", b"\xff\0 b", b"c"]),
        (["-0"], b"a\nb\0c\0", [b"a\nb", b"c"]),
        ([], b"", []),
    ],
)
def test_items_are_pushed_byte_for_byte_in_their_order(
    redis: Server, script: Run, arguments: list[str], stdin: bytes, items: list[bytes]
) -> None:
    assert told(script("push", "--json", *arguments, stdin=stdin)) == {"pushed": len(items)}
    assert redis.client.lrange(KEY, 0, -1) == items[::-1]


@pytest.mark.parametrize("arguments", [[], ["dead"], ["requeue", "all"], ["push", "a"]])
def test_a_redis_that_is_away_is_reported_in_one_line(script: Run, arguments: list[str]) -> None:
    """Without the password."""
    done = script(*arguments, REDIS_URL=f"redis://me:secret@127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Redis away at redis://127.0.0.1:")
    assert done.stderr.count(b"\n") == 1
    assert b"secret" not in done.stderr


def test_a_reader_that_goes_is_no_trouble(redis: Server) -> None:
    bury(redis, *[b"x" * 100] * 2000)
    command = f"'{SCRIPTS}/example-queue' dead --count 2000; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"{{ {command}; }} | head -1"],
        env={"REDIS_URL": redis.url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=20,
    )
    assert done.stderr in (b"0\n", b"141\n")


@pytest.mark.parametrize(
    ("where", "status", "told"),
    [
        (">&-", b"0", b""),
        ("<&-", b"0", b""),
        (">/dev/full", b"1", b"done, but cannot print it: [Errno 28] No space left on device\n"),
    ],
)
def test_streams_that_are_closed_or_full_are_no_fault_of_redis(
    redis: Server, where: str, status: bytes, told: bytes
) -> None:
    done = subprocess.run(
        ["bash", "-c", f"'{SCRIPTS}/example-queue' push {where}; echo $? >&2"],
        env={"REDIS_URL": redis.url, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    assert done.stderr == told + status + b"\n"


def test_what_the_terminal_cannot_show_is_escaped(redis: Server, script: Run) -> None:
    bury(redis, "Grüße".encode())
    done = script("dead", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert rb"Gr\xfc\xdfe" in done.stdout
    assert done.returncode == 0
