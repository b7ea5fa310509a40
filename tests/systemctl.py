"""In place of systemd, which needs to be the first process: systemctl enable --now UNIT.

Runs what the unit's file says as systemd would, as far as files, rights and readiness go. Returns
when the service is ready.
"""

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

CONFINE = """
mount --bind "$0" "$0"
mount -o remount,bind,ro /srv
mount -t tmpfs none /tmp
mount -t tmpfs none /home
exec "$@"
"""


def main() -> None:
    words = sys.argv[1:]
    if words[:2] != ["enable", "--now"] or len(words) != 3:
        sys.exit(f"systemctl: not known here: {words}")
    unit = read(Path(f"/etc/systemd/system/{words[2]}.service"))
    user = pwd.getpwnam(unit["User"][-1])
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind("/run/notify")
    os.chmod("/run/notify", 0o777)  # noqa: S103
    environ = {"PATH": os.environ["PATH"], "HOME": user.pw_dir, "NOTIFY_SOCKET": "/run/notify"}
    for name in unit.get("EnvironmentFile", []):
        environ |= variables(Path(name.removeprefix("-")))
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    confined = ["unshare", "--mount", "sh", "-ec", CONFINE, unit["ReadWritePaths"][-1]]
    with open("/mnt/journal", "ab") as journal:
        service = subprocess.Popen(
            [*confined, *become, "--no-new-privs", *unit["ExecStart"][-1].split()],
            cwd=unit["WorkingDirectory"][-1],
            env=environ,
            stdout=journal,
            stderr=journal,
        )
    inbox.settimeout(1)
    while service.poll() is None:
        try:
            if b"READY=1" in inbox.recv(1000):
                return
        except TimeoutError:
            pass
    told = Path("/mnt/journal").read_text()
    sys.exit(f"systemctl: {words[2]} ended with {service.returncode}\n{told}")


def read(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def variables(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and line[0] not in "#;")
    return dict(line.split("=", 1) for line in lines)


if __name__ == "__main__":
    main()
