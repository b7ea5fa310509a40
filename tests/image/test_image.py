"""The container image, built and run for real."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ..layout import ROOT
from ..server import free_port
from ..view.dashboard import TOKEN, Asking
from .container import Container, hardened, run, tool

Start = Callable[..., Container]

ROLES = {
    "web": {"APP_PROCESSES": "3", "BEAT": "0", "WORKER_PROCESSES": "0"},
    "beat": {"APP_PROCESSES": "0", "BEAT": "1", "WORKER_PROCESSES": "0"},
    "worker": {"APP_PROCESSES": "0", "BEAT": "0", "WORKER_PROCESSES": "2"},
}


def test_it_works_alone(start: Start) -> None:
    """`docker run IMAGE` and nothing else: all programs, an embedded Redis, the published port."""
    container = start()
    container.works()
    assert container.healthy()
    assert set(container.table().values()) == {"RUNNING"}
    assert container.get("/readyz") == "ok"
    assert "dashboard" not in container.table()


def test_the_operator_s_page_runs_where_there_is_a_token(start: Start) -> None:
    page = Asking()
    page.page_port = free_port()
    published = f"--publish=127.0.0.1:{page.page_port}:5001"
    container = start(published, *hardened(), DASHBOARD_TOKEN=TOKEN)
    container.eventually(page.page_answers)
    cookie = page.log_in()
    container.eventually(lambda: "worker_00" in page.ask(Cookie=cookie).text)
    assert TOKEN not in container.logs()


TEMPORARY = """
import logging, tempfile

async def work(item: str) -> None:
    with tempfile.NamedTemporaryFile() as file:
        logging.info("WORKING: in %s", file.name)
"""


@pytest.fixture(scope="session")
def tasks_file(image: str) -> str:
    """Where the image has tasks.py."""
    where = ("python", "-c", "import example.tasks; print(example.tasks.__file__)")
    container = Container(image, command=where)
    try:
        container.exit_status()
        return container.logs().strip()
    finally:
        container.remove()


@pytest.mark.parametrize("user", ["10001:10001", "54321:12345", "77:0"])
def test_it_works_hardened_as_any_user(
    start: Start, tmp_path: Path, tasks_file: str, user: str
) -> None:
    """Read-only root, no /tmp, no capability, no new privileges, a user nobody has heard of.

    Tasks have a place for temporary files all the same.
    """
    (tmp_path / "tasks.py").write_text(TEMPORARY)
    tasks = f"--volume={tmp_path}/tasks.py:{tasks_file}:ro"
    container = start(*hardened(), f"--user={user}", tasks)
    container.eventually(container.answers)
    container.eventually(lambda: "WORKING: in /srv/var/tmp" in container.logs())
    assert container.healthy()
    assert container.exec("id", "-u").stdout.strip() == user.split(":")[0]
    assert container.exec("touch", "/srv/new", check=False).returncode != 0
    assert container.stop() == 0


def test_its_own_user_is_numeric_and_not_root(image: str) -> None:
    user = run("inspect", "--format={{.Config.User}}", image).stdout.strip()
    assert all(part.isdecimal() and int(part) > 0 for part in user.split(":"))


def test_its_labels_say_what_it_is(image: str) -> None:
    labels = run("inspect", "--format={{json .Config.Labels}}", image).stdout
    for name in (
        *("title", "description", "licenses", "version", "revision", "created", "source"),
        *("base.name", "base.digest"),
    ):
        assert f"org.opencontainers.image.{name}" in labels


@pytest.mark.timeout(400)
def test_two_builds_of_one_commit_have_the_same_layers(image: str) -> None:
    """So a push and a pull transfer only what has changed."""
    if tool() == "docker":
        pytest.skip("docker needs a BuildKit exporter that rewrites times")
    again = f"{image}-again-{os.getpid()}"
    build = ROOT / "scripts" / "image"
    subprocess.run([build, again, "--no-cache"], check=True, capture_output=True)
    layers = "--format={{json .RootFS.Layers}}"
    try:
        assert run("inspect", layers, image).stdout == run("inspect", layers, again).stdout
    finally:
        run("rmi", "--force", again)


@pytest.mark.parametrize("program", ["app:app_00", "beat:beat_00", "worker:worker_00", "redis"])
def test_a_killed_program_is_replaced(start: Start, program: str) -> None:
    """supervisorctl in the running container sends KILL; another takes its place and works."""
    container = start()
    container.works()
    before = container.pid(program)
    container.ctl("signal", "KILL", program)
    container.eventually(lambda: container.pid(program) not in (0, before))
    pushes = container.logs().count("WORKING: OK: ")
    container.eventually(lambda: container.logs().count("WORKING: OK: ") > pushes)
    container.eventually(container.healthy)


def test_what_was_pushed_survives_the_container(start: Start) -> None:
    """On the volume: a killed container's items are worked by the next one."""
    volume = run("volume", "create").stdout.strip()
    try:
        first = start(f"--volume={volume}:/data", WORKER_PROCESSES="0", BEAT="0")
        push = ("example-queue", "push", "kept")
        first.eventually(lambda: first.exec(*push, check=False).returncode == 0)
        first.eventually(lambda: b"kept" in appended(volume))
        run("kill", "--signal=KILL", first.id)
        first.exit_status()
        second = start(f"--volume={volume}:/data", BEAT="0")
        second.eventually(lambda: "WORKING: kept" in second.logs())
        first.remove()
        second.remove()
    finally:
        run("volume", "rm", "--force", volume)


def appended(volume: str) -> bytes:
    """What the server has written to its append-only files so far."""
    place = run("volume", "inspect", "--format={{.Mountpoint}}", volume).stdout.strip()
    return b"".join(file.read_bytes() for file in Path(place).rglob("*.aof"))


def test_an_external_redis_is_used_and_none_started(start: Start, store_url: str) -> None:
    container = start(REDIS_URL=store_url)
    container.works()
    assert container.table()["redis"] == "EXITED"
    assert "redis not started: REDIS_URL is elsewhere" in container.logs()
    assert container.healthy()


def test_roles_are_configuration(start: Start, store_url: str) -> None:
    """Three containers of one image, each with one role, work together; each is healthy."""
    containers = {role: start(REDIS_URL=store_url, **ROLES[role]) for role in ROLES}
    containers["web"].eventually(containers["web"].answers)
    containers["beat"].eventually(lambda: "PUSH" in containers["beat"].logs())
    worker = containers["worker"]
    worker.eventually(lambda: "WORKING: OK: " in worker.logs())
    for role, container in containers.items():
        running = {name.partition(":")[0] for name, state in container.table().items()}
        assert running == {"web": {"app"}}.get(role, {role}) | {"redis"}
        container.eventually(container.healthy)
    assert len(containers["web"].table()) == 4
    assert not worker.answers()


def test_the_port_is_configuration(start: Start) -> None:
    container = start(PORT="8080")
    container.eventually(container.answers)
    container.eventually(container.healthy)


@pytest.mark.parametrize("program", ["app:app_00", "beat:beat_00", "worker:worker_00"])
def test_a_program_that_cannot_run_ends_the_container(
    start: Start, tmp_path: Path, program: str
) -> None:
    """FATAL: all is stopped, and the exit status is 70 for whatever watches the container."""
    name = program.partition(":")[0]
    kind = "fcgi-program" if name == "app" else "program"
    broken = tmp_path / "broken.conf"
    broken.write_text(f"[{kind}:{name}]\ncommand = false\n")
    container = start(f"--volume={broken}:/srv/supervisord.d/zz.conf:ro")
    assert container.exit_status() == 70
    assert f"{name.removesuffix('_00')}" in container.logs()
    assert "FATAL" in container.logs()


def test_a_wrong_setting_ends_the_container_and_is_reported(start: Start) -> None:
    container = start(LOG_LEVEL="loud")
    assert container.exit_status() == 70
    assert "wrong setting: LOG_LEVEL" in container.logs()


@pytest.mark.parametrize(
    "setting",
    ["APP_PROCESSES=many", "BEAT=-1", "PORT=99999", "WORKER_PROCESSES=-1", "WORKER_PROCESSES="],
)
def test_a_wrong_variable_of_the_image_is_named(start: Start, setting: str) -> None:
    name, _, value = setting.partition("=")
    container = start(f"--env={setting}")
    assert container.exit_status() == 2
    assert f"wrong setting: {name}: '{value}' is not" in container.logs()


def test_a_missing_place_to_write_is_reported(start: Start) -> None:
    container = start("--read-only", BEAT="no")
    assert container.exit_status() == 2
    assert "wrong setting: /srv/var" in container.logs()
    assert "wrong setting: BEAT" in container.logs()


def test_a_stop_at_once_is_heard(start: Start) -> None:
    """However slow it starts: nothing has to be killed."""
    container = start("--cpu-quota=20000")
    assert container.stop() in (0, 143)


DROP_IN = """
[fcgi-program:app]
numprocs = 1
[program:worker]
numprocs = 3
"""


def test_drop_ins_win_over_the_images_own(start: Start, tmp_path: Path) -> None:
    """A folder of them is mounted. Keys that they do not name stay the same."""
    (tmp_path / "app.conf").write_text(DROP_IN)
    tmp_path.chmod(0o755)
    container = start(f"--volume={tmp_path}:/srv/supervisord.d:ro", BEAT="0")
    container.eventually(container.answers)
    container.eventually(lambda: len(container.table()) == 5)
    assert not any("beat" in name for name in container.table())


def test_it_listens_on_ipv6_too(start: Start) -> None:
    container = start()
    container.eventually(container.answers)
    ask = "from urllib.request import urlopen; urlopen('http://[::1]:5000/livez')"
    container.exec("python", "-c", ask)


def test_it_runs_where_there_is_no_ipv6(start: Start) -> None:
    container = start("--sysctl=net.ipv6.conf.all.disable_ipv6=1")
    container.eventually(container.answers)
    container.eventually(container.healthy)


def test_one_program_alone_is_judged_too(start: Start, store_url: str) -> None:
    """Without supervisord, and hears a stop at once."""
    container = start(*hardened(), command=("example-worker",), REDIS_URL=store_url)
    assert container.healthy()
    container.eventually(lambda: "worker ready: " in container.logs())
    assert container.healthy()
    assert container.stop() == 0


def test_no_volume_is_made_unasked(start: Start) -> None:
    assert start(command=("true",)).inspect("Mounts") == []


def test_it_knows_time_zones(start: Start) -> None:
    container = start(command=("python", "-c", "import zoneinfo; zoneinfo.ZoneInfo('US/Eastern')"))
    assert container.exit_status() == 0


BUSY = """
import asyncio, logging

async def work(item: str) -> None:
    logging.info("BEGUN: %s", item)
    await asyncio.sleep(3)
    logging.info("WORKING: %s", item)
"""


def test_stop_waits_for_what_is_in_hand(start: Start, tmp_path: Path, tasks_file: str) -> None:
    """`docker stop` in the midst of an item: it is finished, and nothing had to be killed."""
    (tmp_path / "tasks.py").write_text(BUSY)
    container = start(f"--volume={tmp_path}/tasks.py:{tasks_file}:ro")
    container.eventually(lambda: "BEGUN: " in container.logs())
    assert container.stop() == 0
    items = [line.partition("BEGUN: ")[2] for line in container.logs().splitlines()]
    begun = [item for item in items if item]
    assert begun
    assert all(f"WORKING: {item}" in container.logs() for item in begun)


def test_a_hanging_app_is_unhealthy(start: Start) -> None:
    container = start()
    container.works()
    container.ctl("signal", "STOP", "app:*")
    assert not container.healthy()
    container.ctl("signal", "CONT", "app:*")
    container.eventually(container.healthy)


def test_orphans_leave_no_zombies(start: Start) -> None:
    """supervisord as PID 1 reaps what others leave behind."""
    container = start()
    container.works()
    container.exec("sh", "-c", "(sleep 0.2 &) ; exit 0")
    states = "cat /proc/[0-9]*/stat | sed 's/.*) //' | cut -c1"
    container.eventually(lambda: "Z" not in container.exec("sh", "-c", states).stdout)


def test_logs_are_on_stdout_only(start: Start) -> None:
    """Every program's lines, with its name, and no file that grows."""
    container = start()
    container.works()
    for name in ("app_00", "beat_00", "redis", "supervisord", "worker_00"):
        assert f"{name} | " in container.logs()
    assert container.exec("sh", "-c", "ls /srv/var").stdout.split() == [
        "supervisor.sock",
        "supervisor.sock.notify",
        "supervisord.pid",
    ]
