"""app and supervisord against what people would use instead; run by `scripts/bench app`.

Only ratios and differences of one run mean anything: all sides take turns on the same machine,
with the same event loop (uvloop) and the same number of processes, and the median counts.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

from tests.launchers import SCRIPTS
from tests.layout import ROOT
from tests.server import free_port
from tests.waiting import eventually

PROCESSES = 2
ROUNDS = 5
SECONDS = 3
PLUGIN = re.compile(r"\[(rpcinterface|ctlplugin):supervision\].*?(?=\n\[)", re.DOTALL)
OTHERS = ("redis", "beat", "worker")
ONLY_APP = "".join(f"[program:{name}]\nautostart = false\n" for name in OTHERS)
UVICORN = ["--loop", "uvloop", "--no-access-log", "--log-level", "warning"]


# The sides: each is a context that serves on a port


@contextlib.contextmanager
def supervised(port: int, *drop_ins: str, stock: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """The shipped configuration in a folder of its own, with these drop-ins; stock: no plugin."""
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    (folder / "var").mkdir()
    (folder / "supervisord.d").mkdir()
    text = (ROOT / "supervisord.conf").read_text()
    (folder / "supervisord.conf").write_text(PLUGIN.sub("", text) if stock else text)
    where = f"[fcgi-program:app]\nsocket = tcp://127.0.0.1:{port}\nnumprocs = {PROCESSES}\n"
    for number, drop_in in enumerate((where, *drop_ins)):
        (folder / "supervisord.d" / f"{number}.conf").write_text(drop_in)
    command = [str(SCRIPTS / "supervisord"), "-c", str(folder / "supervisord.conf")]
    with running(command, cwd=folder) as process:
        yield process
    shutil.rmtree(folder)


@contextlib.contextmanager
def sharing_a_socket(port: int, *command: str) -> Iterator[None]:
    """Plain processes of `command` on one listening socket at descriptor 0."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=2048))
        for _ in range(PROCESSES):
            full = [str(SCRIPTS / command[0]), *command[1:]]
            stack.enter_context(running(full, listener.fileno()))
        yield


@contextlib.contextmanager
def running(
    command: list[str], stdin: int = subprocess.DEVNULL, cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environ,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def uvicorn(port: int) -> list[str]:
    return [str(SCRIPTS / "uvicorn"), "example:app", *UVICORN, "--port", str(port)]


def throughput() -> None:
    """Requests a second over eight keep-alive connections."""
    sides: dict[str, Callable[[int], contextlib.AbstractContextManager[object]]] = {
        "plain socket": lambda port: sharing_a_socket(port, "example-app"),
        "supervisord": lambda port: supervised(port, ONLY_APP),
        "uvicorn --workers": lambda port: running(
            [
                str(SCRIPTS / "uvicorn"),
                "example:app",
                *UVICORN,
                "--port",
                str(port),
                "--workers",
                "2",
            ]
        ),
        "uvicorn --fd 0": lambda port: sharing_a_socket(
            port, "uvicorn", "example:app", *UVICORN, "--fd", "0"
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            port = free_port()
            with side(port):
                eventually(lambda port=port: answers(port))  # type: ignore[misc]
                rates[name].append(wrk(port))
    ours = rates["supervisord"]
    print(f"requests/s, wrk -c 8, {PROCESSES} processes, {ROUNDS} rounds of {SECONDS} s:")
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(ours, rate, strict=True))
        print(f"  {name:18} {statistics.median(rate):8.0f}   supervisord is {ratio:.2f} of it")


def wrk(port: int) -> float:
    done = subprocess.run(
        ["wrk", "-t", "1", "-c", "8", "-d", f"{SECONDS}s", f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Requests/sec: +([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def first_answer() -> None:
    """From exec to the first 200."""

    def bare(port: int) -> contextlib.AbstractContextManager[object]:
        return running(uvicorn(port))

    took: dict[str, list[float]] = {"bare uvicorn": [], "supervisord": [], "stock supervisord": []}
    for _ in range(ROUNDS):
        for name, side in (
            ("bare uvicorn", bare),
            ("supervisord", lambda port: supervised(port, ONLY_APP)),
            ("stock supervisord", lambda port: supervised(port, ONLY_APP, stock=True)),
        ):
            port = free_port()
            start = time.perf_counter()
            with side(port):
                while not answers(port):
                    time.sleep(0.005)
                took[name].append(time.perf_counter() - start)
    print("exec to first 200, seconds:")
    base = statistics.median(took["bare uvicorn"])
    for name, times in took.items():
        middle = statistics.median(times)
        print(f"  {name:18} {middle:6.2f}   {middle - base:+.2f} over bare uvicorn")


def stop() -> None:
    """From TERM to the exit of supervisord, all programs idle; and from exec to the first spawn."""
    stops: dict[str, list[float]] = {"supervisord": [], "stock supervisord": []}
    spawns: dict[str, list[float]] = {"supervisord": [], "stock supervisord": []}
    redis = f"redis://127.0.0.1:{free_port()}"
    os.environ["REDIS_URL"] = redis
    for _ in range(ROUNDS):
        for name in stops:
            port = free_port()
            start = time.perf_counter()
            with supervised(port, stock=name.startswith("stock")) as process:
                while not children(process.pid):
                    time.sleep(0.001)
                spawns[name].append(time.perf_counter() - start)
                eventually(lambda port=port: answers(port))  # type: ignore[misc]
                time.sleep(3)
                start = time.perf_counter()
                process.terminate()
                process.wait(30)
                stops[name].append(time.perf_counter() - start)
    print("app x2, beat, worker, redis; median seconds:")
    for name in stops:
        spawn, end = statistics.median(spawns[name]), statistics.median(stops[name])
        print(f"  {name:18} exec to first spawn {spawn:.2f}   TERM to exit {end:.2f}")


def children(pid: int) -> list[int]:
    """The programs that supervisord has started: those that run no shell of the plugin's."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"trap" not in command_of(int(child))]


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def footprint() -> None:
    """What supervisord itself takes, with nothing to do."""
    print("supervisord idle, for 20 s:")
    quiet = f"""{ONLY_APP}
[fcgi-program:app]
autostart = false
[program:sleeper]
command = /bin/sleep 1000
process_name = sleeper_%(process_num)d
numprocs = 4
"""
    for name in ("supervisord", "stock supervisord"):
        with supervised(free_port(), quiet, stock=name.startswith("stock")) as process:
            time.sleep(5)
            own = [process.pid, *(set(all_children(process.pid)) - set(children(process.pid)))]
            before = cpu(process.pid)
            time.sleep(20)
            used = cpu(process.pid) - before
            memory = sum(pss(pid) for pid in own) / 2**20
            print(f"  {name:18} {memory:5.1f} MiB PSS   {used / 20:.3%} CPU")


def all_children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def pss(pid: int) -> int:
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


def cpu(pid: int) -> float:
    """Seconds so far, by the scheduler's nanoseconds: a clock tick is too coarse here."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


MEASURES = {each.__name__: each for each in (throughput, first_answer, stop, footprint)}


def main() -> None:
    for name in sys.argv[1:] or MEASURES:
        if name == "throughput" and not shutil.which("wrk"):
            print("throughput: skipped, there is no wrk (Debian: wrk)")
            continue
        MEASURES[name]()


if __name__ == "__main__":
    main()
