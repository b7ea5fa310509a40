"""Measure this layout beside its peers, and write docs/benchmarks.md with its charts.

A part that is not measured keeps its former data, which docs/benchmarks.json holds.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from tests.layout import ROOT
from tests.server import server_program

from . import app, growth, page, queue, stack
from .contenders import ARQ, HERE, PEERS
from .side import scripts

PARTS = {
    "queue": queue.measure,
    "app": app.measure,
    "stack": stack.measure,
    "growth": growth.measure,
}
DATA = ROOT / "docs" / "benchmarks.json"
SHOWN = [
    "arq",
    "celery",
    "circus",
    "dramatiq",
    "granian",
    "gunicorn",
    "honcho",
    "huey",
    "kombu",
    "redis",
    "rq",
    "saq",
    "starlette",
    "streaq",
    "supervisor",
    "taskiq",
    "taskiq-redis",
    "uvicorn",
    "uvicorn-worker",
    "uvloop",
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts; default 1")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="contenders with this in the name"
    )
    parser.add_argument("--write-only", action="store_true", help="the page anew, from its data")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no process behind
    data: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    measured: list[str] = []
    for part in () if options.write_only else options.parts or PARTS:
        found = PARTS[part](options.rounds, options.scale, options.only, progress)
        if reason := found.get("skipped"):
            progress(f"{part}: skipped, {reason}\n")
            continue
        data[part] = found | machine()
        measured.append(part)
        if whole(options):
            write(data)
    progress("")
    if not whole(options):
        print(page.markdown({part: data[part] for part in measured}))
        print("Not written: docs/benchmarks.md is of whole runs.", file=sys.stderr)
        return
    write(data)
    print("Written: docs/benchmarks.md, its charts, and docs/benchmarks.json", file=sys.stderr)


def whole(options: argparse.Namespace) -> bool:
    return not options.only and options.rounds >= 5 and options.scale >= 1


def write(data: dict[str, Any]) -> None:
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    for name, text in page.documents(data).items():
        (ROOT / "docs" / name).write_text(text)


def progress(words: str) -> None:
    """One line; on a terminal, over the last one."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)
    elif words:
        print(words, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """On what a part was measured: the kind of machine, and versions by set of packages."""
    server = subprocess.run([server_program(), "--version"], capture_output=True, text=True)
    name, *words = server.stdout.split()
    number = next(word.removeprefix("v=") for word in words if word.startswith("v="))
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, {name.lower()}-server {number}",
        "versions": {venv: versions(venv) for venv in (HERE, PEERS, ARQ)},
    }


def versions(venv: str) -> dict[str, str]:
    code = """
import importlib.metadata, json, sys
print(json.dumps({each.name.lower(): each.version for each in importlib.metadata.distributions()}))
"""
    python = scripts(venv) / "python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {name: found[name] for name in SHOWN if name in found}


if __name__ == "__main__":
    main()
