"""Several machines on one: network namespaces joined by a bridge, each with its own processes.

Addresses and interfaces exist inside the namespaces only, so nothing here meets the machine's
own network, or another test's.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

IP = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin") or "ip"
HUB_ADDRESS = "10.77.0.1"


class Network:
    """A hub, where Redis and the balancer are, and hosts that reach each other through it."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.names = folder / "hosts"
        self.names.write_text("127.0.0.1 localhost\n")
        self.hosts = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.hub = self._add("hub")
        _ip("-n", self.hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.hub, "addr", "add", f"{HUB_ADDRESS}/24", "dev", "br0")
        _ip("-n", self.hub, "link", "set", "br0", "up")

    def add_host(self) -> int:
        """Returns the new host's number."""
        self.hosts += 1
        number = self.hosts
        namespace = self._add(f"h{number}")
        link = f"v{number}"
        _ip("-n", self.hub, *f"link add {link} type veth peer name eth0 netns {namespace}".split())
        _ip("-n", self.hub, "link", "set", link, "master", "br0", "up")
        _ip("-n", namespace, "addr", "add", f"{address(number)}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        with self.names.open("a") as names:
            names.write(f"{address(number)} host{number}\n")
        return number

    def cut(self, number: int) -> None:
        """Pull the host's cable: nothing comes or goes, and no program is notified."""
        _ip("-n", self.hub, "link", "set", f"v{number}", "down")

    def lose(self, number: int) -> None:
        """Lose all packets on their way. Unlike after `cut`, the host itself does not notice."""
        _ip("-n", self.hub, "link", "set", f"v{number}", "nomaster")

    def mend(self, number: int) -> None:
        _ip("-n", self.hub, "link", "set", f"v{number}", "master", "br0", "up")

    def on_hub(self, *command: str) -> list[str]:
        """The words that run `command` on the hub."""
        return [IP, "netns", "exec", self.hub, *command]

    def on_host(self, number: int, *command: str) -> list[str]:
        """The words that run `command` as a host's first process, with a name and pids of its own.

        When they are killed, all of the host's processes are, as if its power had gone.
        """
        boot = f'hostname host{number} && mount --bind {self.names} /etc/hosts && exec "$@"'
        own = ["unshare", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
        enter = [IP, "netns", "exec", f"{self.name}-h{number}"]
        return [*enter, *own, "sh", "-c", boot, "sh", *command]

    def start(
        self, command: list[str], folder: Path, environ: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run `command` until `close`; its output goes to the file `stdout` in `folder`."""
        with open(folder / "stdout", "ab") as out:
            process = subprocess.Popen(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in ["hub", *(f"h{number + 1}" for number in range(self.hosts))]:
            namespace = f"{self.name}-{name}"
            for pid in subprocess.check_output([IP, "netns", "pids", namespace]).split():
                # Those of a host end by themselves, just now perhaps.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "del", namespace)

    def _add(self, name: str) -> str:
        namespace = f"{self.name}-{name}"
        _ip("netns", "add", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        return namespace


def address(number: int) -> str:
    return f"10.77.0.{10 + number}"


def missing() -> str:
    """Why there can be no network here, or ''."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which(IP) or not shutil.which("unshare"):
        return "needs iproute2 and util-linux"
    probe = f"ex-probe-{os.getpid()}"
    added = subprocess.run([IP, "netns", "add", probe], capture_output=True, text=True)
    if added.returncode:
        return f"cannot add a network namespace: {added.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


def _ip(*words: str) -> None:
    done = subprocess.run([IP, *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
