"""A stand-in for scripts/install: the same in a second, without an index, and with our packages."""

import importlib.util
import sys
import sysconfig
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

START = r"""#!/bin/sh
set -eu
cd "$(dirname "$0")/.."
[ -e .venv ] || "{python}" -m venv --without-pip .venv
site=$(echo .venv/lib/python3*/site-packages)
printf '%s\n' "$PWD" "{packages}" >"$site/all.pth"
mkdir -p "$site/{name}-{version}.dist-info"
printf 'Name: {name}\nVersion: {version}\n' >"$site/{name}-{version}.dist-info/METADATA"
# The shell starts them, as with pip: the path may have a blank.
made=
script() {{
    printf '%s\n' '#!/bin/sh' "\"exec\" \"$PWD/.venv/bin/python\" \"\$0\" \"\$@\"" \
        'import sys' "from $2 import $3 as main" \
        'if __name__ == "__main__":' '    sys.exit(main())' >".venv/bin/$1"
    made="$made .venv/bin/$1"
}}
"""
END = """chmod +x $made
# It leaves those that are there.
ln -s {bin}/* .venv/bin/ 2>/dev/null || true
"""
# As PYTHON of the real scripts/install. To put pip in takes most of the time of an install.
QUICK = """\
#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec "{python}" "$@"
shift 2
"{python}" -m venv --without-pip "$@" || exit
for env; do :; done
exec ln -s "{packages}"/pip "{packages}"/pip-* "$env"/lib/python3*/site-packages
"""
PACKAGES = sysconfig.get_path("purelib")


def put(project: Path, python: str = sys.executable, packages: str = PACKAGES) -> None:
    """Write it into `project`: its .venv then has this Python and these packages."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    programs = {each.name: each.value for each in entry_points(group="console_scripts")}
    lines = [
        f"script {name} {where.replace(':', ' ')}\n"
        for name, where in (programs | about["scripts"]).items()
    ]
    name = about["name"].replace("-", "_")
    start = START.format(python=python, packages=packages, name=name, version=about["version"])
    text = start + "".join(lines) + END.format(bin=sysconfig.get_path("scripts"))
    (project / "scripts" / "install").write_text(text)


def python(file: Path, real: str = sys.executable) -> str:
    """Make `file` a Python whose virtual environments have the pip of the tests' own."""
    pip = importlib.util.find_spec("pip")
    if pip is None or pip.origin is None:
        return real
    file.write_text(QUICK.format(python=real, packages=Path(pip.origin).parent.parent))
    file.chmod(0o755)
    return str(file)
