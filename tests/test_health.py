"""Health: what app answers, and what `example-health` says of the whole."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from .launchers import SCRIPTS
from .layout import Layout
from .server import Server
from .waiting import eventually
from .web.proxies import certify

Launch = Callable[..., Any]
Only = Callable[..., Layout]
Popen = Callable[..., subprocess.Popen[str]]


def health(layout: Layout, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / "example-health", *words],
        cwd=layout.folder,
        env=layout.environ,
        capture_output=True,
        text=True,
        timeout=20,
    )


def status(layout: Layout, path: str) -> int:
    try:
        layout.get(path)
    except HTTPError as error:
        error.close()
        return error.code
    return 200


def test_readiness_depends_on_redis_and_liveness_does_not(only: Only) -> None:
    """Redis killed: /readyz is 503, /livez and `example-health` are well; then it comes back."""
    # Without redis, which might take over before the server is back.
    layout = only(app=1)
    layout.eventually(lambda: status(layout, "/readyz") == 200)
    layout.redis.kill()
    layout.eventually(lambda: status(layout, "/readyz") == 503)
    assert status(layout, "/livez") == 200
    assert health(layout).stdout == "healthy\n"
    layout.redis.start()
    layout.eventually(lambda: status(layout, "/readyz") == 200)


def test_app_loads_a_redis_client_only_for_readyz(only: Only) -> None:
    """It takes a third of the process's memory."""
    layout = only(app=1)
    layout.eventually(lambda: status(layout, "/livez") == 200)
    loaded = Path(f"/proc/{layout.pid('app')}/maps")
    assert "hiredis" not in loaded.read_text()
    assert status(layout, "/readyz") == 200
    assert "hiredis" in loaded.read_text()


def test_a_redis_that_never_was_there_is_nobodys_fault(launch: Launch, redis: Server) -> None:
    """A program that waits for it is not ready, but its start is never overdue."""
    redis.kill()
    layout = launch(Layout, redis)
    layout.only(app=1, beat=1, worker=1)
    layout.start()
    layout.eventually(lambda: status(layout, "/livez") == 200)
    layout.eventually(lambda: str(layout.rpc("supervision.ready")).count("Redis away since") == 2)
    # supervisord counts from the start on.
    started = time.time()
    layout.eventually(lambda: time.time() - started > 1)
    rows = layout.rpc("supervision.ready")
    waiting = {row["name"]: row["starting_seconds"] for row in rows if "starting_seconds" in row}
    assert waiting == {"beat:beat_00": 0, "worker:worker_00": 0}
    assert health(layout).stdout == "healthy\n"


def test_a_redis_that_hangs_is_not_ready(only: Only) -> None:
    """Stopped rather than dead: the answer is 503 within the time that a probe waits."""
    layout = only(app=1)
    layout.redis.signal(signal.SIGSTOP)
    assert status(layout, "/readyz") == 503
    layout.redis.signal(signal.SIGCONT)


def test_all_up_is_healthy(only: Only) -> None:
    layout = only(app=1, beat=1, worker=1, redis=1)
    for words in ((), ("--ready",)):
        done = health(layout, *words)
        assert (done.returncode, done.stdout) == (0, "healthy\n"), done.stderr


@pytest.mark.parametrize("program", ["beat", "worker"])
def test_a_program_that_cannot_run_is_unhealthy(
    launch: Launch, redis: Server, program: str
) -> None:
    layout = launch(Layout, redis)
    layout.only(**{program: 1})
    layout.override("broken", f"[program:{program}]\ncommand = false\n")
    layout.start()
    done = layout.eventually(lambda: (done := health(layout)).returncode == 1 and done)
    assert f"{program}" in done.stdout


def test_an_app_that_hangs_is_unhealthy(only: Only) -> None:
    layout = only(app=2)
    for each in ("app:app_00", "app:app_01"):
        layout.signal(each, "STOP")
    done = health(layout)
    for each in ("app:app_00", "app:app_01"):
        layout.signal(each, "CONT")
    assert done.returncode == 1
    assert done.stdout == f"app does not answer /livez at tcp://127.0.0.1:{layout.port}\n"


def test_app_is_asked_wherever_supervisord_listens_for_it(launch: Launch, redis: Server) -> None:
    """Also on a Unix socket, and whatever PORT says."""
    layout = launch(Layout, redis, PORT="1")
    layout.only(app=1)
    where = f"unix://{layout.folder}/var/app.sock"
    layout.override("port", f"[fcgi-program:app]\nsocket = {where}\n")
    layout.start()
    layout.ready()
    assert health(layout).stdout == "healthy\n"
    layout.signal("app", "STOP")
    assert health(layout).stdout == f"app does not answer /livez at {where}\n"


@pytest.mark.parametrize(("host", "client"), [("[::]", "none"), ("127.0.0.1", "required")])
def test_app_is_asked_where_it_serves_tls_itself(
    host: str, client: str, folder: Path, launch: Launch, redis: Server
) -> None:
    """Also on all addresses of IPv6 and IPv4, and where clients have to show a certificate."""
    certify(folder)
    pem = str(folder / "site.pem")
    files = {"UVICORN_SSL_CERTFILE": pem, "UVICORN_SSL_CA_CERTS": str(folder / "c.pem")}
    reqs = {"none": "0", "required": "2"}[client]
    layout = launch(Layout, redis, **files, UVICORN_SSL_CERT_REQS=reqs)
    layout.only(app=1)
    where = f"tcp://{host}:{layout.port}"
    layout.override("port", f"[fcgi-program:app]\nsocket = {where}\n")
    layout.start()
    layout.ready()
    assert health(layout, "--ready").stdout == "healthy\n"
    layout.signal("app", "STOP")
    done = health(layout)
    layout.signal("app", "CONT")
    assert done.stdout == f"app does not answer /livez at {where}\n"


def test_without_app_the_rest_is_judged_alone(only: Only) -> None:
    assert health(only(worker=1)).stdout == "healthy\n"


def test_a_missing_supervisord_is_unhealthy(launch: Launch, redis: Server) -> None:
    done = health(launch(Layout, redis))
    assert done.returncode == 1
    assert "supervisord does not answer" in done.stdout


def test_a_supervisord_that_hangs_is_unhealthy(only: Only) -> None:
    """Within the time that a container's HEALTHCHECK has, and not after it is back."""
    layout = only()
    layout.processes[0].send_signal(signal.SIGSTOP)
    try:
        done = health(layout)
    finally:
        layout.processes[0].send_signal(signal.SIGCONT)
    assert (done.returncode, done.stdout) == (1, "supervisord does not answer: timed out\n")


def test_a_refused_login_is_reported(only: Only) -> None:
    layout = only()
    conf = layout.folder / "supervisord.conf"
    head, section, rest = conf.read_text().partition("[supervisorctl]")
    conf.write_text(head + section + rest.replace("password = local", "password = wrong", 1))
    done = health(layout)
    assert done.returncode == 1
    assert re.match("supervisord does not answer: .* 401 Unauthorized", done.stdout), done.stderr


def test_another_server_in_its_place_is_reported(launch: Launch, redis: Server) -> None:
    """It answers, but no HTTP."""
    layout = launch(Layout, redis)
    conf = layout.folder / "supervisord.conf"
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:
        url = f"serverurl = http://127.0.0.1:{other.getsockname()[1]}"
        conf.write_text(re.sub("serverurl = .*", url, conf.read_text()))
        other.settimeout(10)
        asked = pool.submit(health, layout)
        with other.accept()[0] as connection:
            connection.sendall(b"220 mail\r\n")
            done = asked.result()
    assert (done.returncode, done.stdout) == (1, "supervisord does not answer: 220 mail\n")


def test_a_worker_that_hangs_is_unhealthy(launch: Launch, redis: Server) -> None:
    """Where the watchdog is too patient to replace it, its silence is told."""
    layout = launch(Layout, redis)
    layout.only(worker=1)
    layout.override(
        "patient", "[rpcinterface:supervision]\nwatchdog = 10 worker=3000\nhealth = 11\n"
    )
    layout.start()
    layout.ready()
    assert health(layout).stdout == "healthy\n"
    layout.signal("worker", "STOP")
    layout.eventually(lambda: "silent" in layout.rpc("supervision.health"), within=20)
    assert "worker:worker_00 has been silent for" in health(layout).stdout
    layout.signal("worker", "CONT")


def test_without_the_plugins_word_it_says_so(launch: Launch, redis: Server) -> None:
    layout = launch(Layout, redis)
    layout.only()
    layout.override("stock", "[rpcinterface:supervision]\nready = off\n")
    layout.start()
    assert "is the part `ready` or `health` off?" in health(layout).stdout


def test_an_app_that_starts_is_not_wrong(launch: Launch, redis: Server) -> None:
    """Also where that takes long: RUNNING, and not ready, it answers nobody yet."""
    layout = launch(Layout, redis)
    layout.only(app=1)
    layout.override("slow", "[fcgi-program:app]\ncommand = sleep 1000\n")
    layout.start()
    layout.eventually(lambda: layout.status("app") == "RUNNING")
    assert health(layout).stdout == "healthy\n"
    assert "app:app_00 is not ready" in health(layout, "--ready").stdout


def test_a_program_that_keeps_dying_is_unhealthy(launch: Launch, redis: Server) -> None:
    """Whatever state it is in at that moment: here it is RUNNING, each time."""
    layout = launch(Layout, redis)
    layout.only(beat=1)
    crash = "[program:beat]\ncommand = sh -c 'sleep 0.3; exit 1'\nstartsecs = 0\n"
    layout.override("crash", f"{crash}[rpcinterface:supervision]\ncrash_loop = off\n")
    layout.start()
    layout.eventually(lambda: "keeps dying" in layout.rpc("supervision.health"))
    assert "beat:beat_00 keeps dying: " in health(layout).stdout


def test_an_application_without_probes_lives(launch: Launch, redis: Server) -> None:
    """Its 404 is an answer."""
    layout = launch(Layout, redis)
    layout.only(app=1)
    layout.override("bare", "[fcgi-program:app]\ncommand = uvicorn --fd 0 bare:app\n")
    layout.override("unheard", "[rpcinterface:supervision]\nready = worker\n")
    (layout.folder / "bare.py").write_text(
        "from starlette.applications import Starlette\n\napp = Starlette()\n"
    )
    layout.start()
    layout.eventually(lambda: status(layout, "/livez") == 404)
    assert health(layout).stdout == "healthy\n"


def test_one_program_without_supervisord_is_judged_by_its_sign_of_life(
    folder: Path, popen: Popen, redis: Server
) -> None:
    """As in a container whose command is example-worker."""
    alive = folder / "alive"
    alive.touch()
    os.utime(alive, (0, 0))
    environ = {"HEALTH_FILE": str(alive), "REDIS_URL": redis.url}
    popen([SCRIPTS / "example-worker"], environ)
    eventually(lambda: alive.stat().st_mtime)

    def told() -> str:
        done = subprocess.run(
            [SCRIPTS / "example-health"], env=environ, cwd=folder, capture_output=True, text=True
        )
        return done.stdout

    assert told() == "healthy\n"
    os.utime(alive, (0, 0))
    assert "the program has been silent for" in told()
