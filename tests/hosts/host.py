"""A host of the network: its own supervisord on the shipped configuration."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .. import asking, quick_ctl
from ..launchers import SCRIPTS, handed_on
from ..layout import ROOT, only
from ..waiting import eventually
from .network import Network, address

T = TypeVar("T")

# As tasks.py, but it takes a while, and tells of the beginning too. Also to a file of its own: what
# is on its way to supervisord is lost with the host, though the item is done.
SLOW = """\
import asyncio, logging
import example, example.tasks

async def work(item: str) -> None:
    logging.info("BEGUN: %s", item)
    await asyncio.sleep({seconds})
    logging.info("WORKING: %s", item)

example.tasks.work = work
start = logging.basicConfig
logging.basicConfig = lambda handlers, **options: start(
    handlers=[*handlers, logging.FileHandler("told")], **options
)
example.start_worker()
"""


class Host:
    """Programs are named as supervisorctl does: beat:beat_00, app:app_00, worker:worker_00."""

    def __init__(self, network: Network, folder: Path, redis_url: str, **environ: str) -> None:
        self.network = network
        self.number = network.add_host()
        self.address = address(self.number)
        self.folder = folder
        self.socket = folder / "var" / "supervisor.sock"
        self.environ = {
            "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin",
            "REDIS_URL": redis_url,
            **handed_on(),
            **environ,
        }
        (folder / "var").mkdir(parents=True)
        (folder / "supervisord.d").mkdir()
        shutil.copy(ROOT / "supervisord.conf", folder)
        self.override("address", "[fcgi-program:app]\nsocket = tcp://0.0.0.0:5000\n")

    def override(self, name: str, text: str) -> None:
        """Add a drop-in before start."""
        (self.folder / "supervisord.d" / f"{name}.conf").write_text(text)

    def only(self, **processes: int) -> None:
        """From the next start on: so many processes of these programs, and none of the others."""
        self.override("only", only(**processes))

    def work_slowly(self, seconds: float) -> None:
        """From the next start on, an item takes so long, and its beginning is logged."""
        (self.folder / "slow.py").write_text(SLOW.format(seconds=seconds))
        self.override("slow", f"[program:worker]\ncommand = {SCRIPTS}/python slow.py\n")

    def start(self, *options: str) -> None:
        supervisord = [
            str(SCRIPTS / "supervisord"),
            "-c",
            f"{self.folder}/supervisord.conf",
            *options,
        ]
        command = self.network.on_host(self.number, *supervisord)
        self.process = self.network.start(command, self.folder, self.environ)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return quick_ctl.ctl(*words, cwd=self.folder, environ=self.environ)

    def ready(self) -> None:
        """Wait until every program has said that it is ready."""
        self.eventually(lambda: asking.ready(self.socket), within=40)

    def running(self) -> set[str]:
        table = asking.table(self.socket)
        return {name for name, (state, _) in table.items() if state == "RUNNING"}

    def stop(self) -> int:
        """TERM to supervisord; returns its exit status."""
        asking.ask(self.socket, "supervisor.shutdown")
        return self.process.wait(20)

    def kill(self) -> None:
        """Take its power: all processes vanish at once."""
        self.network.cut(self.number)
        self.process.kill()
        self.process.wait()

    def cut(self) -> None:
        self.network.cut(self.number)

    def lose(self) -> None:
        self.network.lose(self.number)

    def mend(self) -> None:
        self.network.mend(self.number)

    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(errors="replace")

    def told(self) -> str:
        """The items that workers have logged; those that have begun, if they work slowly."""
        told = self.folder / "told"
        return told.read_text(errors="replace") if told.exists() else self.stdout()

    def eventually(self, check: Callable[[], T], within: float = 15.0) -> T:
        return eventually(check, within, self.report)

    def report(self) -> str:
        lines = self.stdout().splitlines()[-30:]
        return "\n".join([f"--- host{self.number}", self.ctl("status").stdout, *lines])
