"""A machine of a test's own: namespaces, with users, /srv, network and processes apart."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

TOOLS = ("unshare", "ip", "useradd", "runuser", "setpriv", "git", "ssh", "curl")
# The shell is its first process. All is below /mnt, which a service finds in spite of PrivateTmp.
BOOT = r"""
set -eu
mount --bind "$1" /mnt
cd /mnt
mkdir -p etc srv run/sshd python packages
mkdir -m 700 root
cp -a /etc/. etc
mount --bind etc /etc
mount --bind srv /srv
mount --bind run /run
mount --bind "$2" python
mount --bind "$3" packages
# Programs of another user cannot follow what a Python in somebody's home says of its library.
mkdir -p etc/ld.so.conf.d && echo /mnt/python/lib >etc/ld.so.conf.d/00-python.conf && ldconfig
hostname machine
echo 127.0.0.1 localhost machine >/etc/hosts
ip link set lo up
set +e
while read -r line; do
    (eval "$line") </dev/null >said 2>&1
    echo $?
done
"""
# supervisorctl and others of the tests' own environment are not to be found here.
PATH = "/mnt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """`run()` is root's shell on it, in the folder /mnt/checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Everybody may look at it, as at other machines' files.
        folder.chmod(0o755)
        self.checkout = folder / "checkout"
        (folder / "bin").mkdir()
        systemctl = Path(__file__).with_name("systemctl.py").read_text()
        self.put_before("systemctl", f"#!{sys.executable}\n{systemctl}")
        own = ["--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        packages = sysconfig.get_path("purelib")
        self.shell = subprocess.Popen(
            ["unshare", *own, "sh", "-c", BOOT, "sh", folder, sys.base_prefix, packages],
            env={"PATH": PATH, "HOME": "/mnt/root", "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run("true", "/")

    def run(self, command: str, where: str = "/mnt/checkout") -> str:
        """Run a command of the shell's; returns what it said. Raises AssertionError if it fails."""
        assert self.shell.stdin
        assert self.shell.stdout
        (self.folder / "command").write_text(f"cd {where}\n{command}\n")
        self.shell.stdin.write(". /mnt/command\n")
        self.shell.stdin.flush()
        status = self.shell.stdout.readline().strip()
        said = (self.folder / "said").read_text(errors="replace")
        assert status == "0", f"{command}\nends with {status}:\n{said}"
        return said

    def close(self) -> None:
        with self.shell:
            self.shell.kill()

    def put_before(self, name: str, text: str) -> None:
        """Write a command that is found before any other of its name."""
        file = self.folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)


def missing() -> str:
    """What is missing here for such a machine, or ''."""
    if os.geteuid() != 0:
        return "root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return ", ".join(tool for tool in TOOLS if not shutil.which(tool, path=path))
