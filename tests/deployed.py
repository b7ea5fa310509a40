"""A machine that the project is deployed on: its home folder, and supervisord as at boot."""

import shutil
import subprocess
from pathlib import Path

from . import asking, quick_install
from .launchers import Launcher
from .layout import ROOT, only
from .server import Server

NEEDED = ("example", "scripts", "supervisord.conf", "supervisord.d", "pyproject.toml",
          "requirements-image.txt")  # fmt: skip


class Deployed(Launcher):
    """`checkout` is a developer's; `deploy()` puts it into `home`."""

    def __init__(
        self, folder: Path, redis: Server, whole: bool = True, shipped: bool = False
    ) -> None:
        """The package has no more than the demo files unless it is to run `whole`.

        One process of app and of worker runs, or everything as `shipped`.
        """
        self.home = folder / "home"
        current = self.home / "current"
        python = current / ".venv" / "bin" / "python"
        start = ["-m", "supervisor.supervisord", "-c", f"{current}/supervisord.conf"]
        super().__init__(current, redis, [str(python), *start])
        self.redis = redis
        self.out = folder / "stdout"
        del self.environ["PORT"]
        # The code is to come from a release.
        self.environ.pop("PYTHONPATH", None)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        (self.checkout / "example").mkdir()
        for name in NEEDED if whole else NEEDED[1:]:
            if (ROOT / name).is_dir():
                caches = shutil.ignore_patterns("__pycache__")
                target = self.checkout / name
                shutil.copytree(ROOT / name, target, ignore=caches, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / name, self.checkout)
        for file in (ROOT / "tests" / "demo").glob("*.py"):
            if file.name != "__init__.py":
                shutil.copy(file, self.checkout / "example")
        quick_install.put(self.checkout)
        self.git("init", "--quiet")
        self.commit()
        drop_ins = self.home / "shared" / "supervisord.d"
        drop_ins.mkdir(parents=True)
        port = f"[fcgi-program:app]\nsocket = tcp://127.0.0.1:{self.port}\n"
        (drop_ins / "port.conf").write_text(port)
        if not shipped:
            (drop_ins / "only.conf").write_text(only(app=1, worker=1))

    def change(self, file: str, text: str) -> None:
        path = self.checkout / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run(["git", *who, *words], cwd=self.checkout, check=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=change")

    def deploy(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """scripts/deploy of the checkout."""
        return subprocess.run(
            ["scripts/deploy", self.home, *words],
            cwd=self.checkout,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def begin_deploy(self, **environ: str) -> "subprocess.Popen[str]":
        """Begin the same in a session of its own, without waiting."""
        return subprocess.Popen(
            ["scripts/deploy", self.home],
            cwd=self.checkout,
            env=self.environ | environ,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def releases(self) -> list[str]:
        return sorted(each.name for each in (self.home / "releases").iterdir())

    def current(self) -> str:
        return (self.home / "current").resolve().name

    def table(self) -> dict[str, tuple[str, int]]:
        """Program -> (state, pid or 0)."""
        return asking.table(self.home / "var" / "supervisor.sock")

    def folders(self) -> dict[str, str]:
        """Process -> the release in whose folder it runs."""
        table = self.table()
        assert all(state == "RUNNING" for state, _ in table.values()), table
        return {name: Path(f"/proc/{pid}/cwd").readlink().name for name, (_, pid) in table.items()}

    def ctl(self, *words: str) -> str:
        done = subprocess.run(
            [".venv/bin/supervisorctl", *words],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def report(self) -> str:
        logs = sorted((self.home / "var").glob("*.log"))
        tails = [log.read_text(errors="replace")[-1500:] for log in logs]
        return "\n---\n".join([self.ctl("status"), super().report(), *tails])
