"""Asks supervisord what supervisorctl asks, without the time that supervisorctl takes to start."""

from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.options import make_namespec
from supervisor.xmlrpc import SupervisorTransport

AWAY = (OSError, HTTPException, Fault)
"""What asking raises while supervisord starts, ends, or is not there."""


def ask(socket: Path, method: str, *words: Any) -> Any:
    """Call `method`, such as supervisor.getPID, through the Unix socket."""
    transport = SupervisorTransport("local", "local", f"unix://{socket}")
    with ServerProxy("http://127.0.0.1", transport) as proxy:
        return getattr(proxy, method)(*words)


def answers(socket: Path) -> bool:
    try:
        return bool(ask(socket, "supervisor.getPID"))
    except AWAY:
        return False


def table(socket: Path) -> dict[str, tuple[str, int]]:
    """Process -> (state, pid, or 0 unless RUNNING); nothing while supervisord is away."""
    try:
        rows = ask(socket, "supervisor.getAllProcessInfo")
    except AWAY:
        return {}
    return {
        make_namespec(row["group"], row["name"]): (
            row["statename"],
            row["pid"] if row["statename"] == "RUNNING" else 0,
        )
        for row in rows
    }


def ready(socket: Path, *names: str) -> bool:
    """Whether `supervisorctl ready` would call all ready, or these programs or processes."""
    try:
        rows = ask(socket, "supervision.ready")
    except AWAY:
        return False
    parts = [[row for row in rows if name in _names(row)] for name in names] or [rows]
    # Nothing is ready that is not there.
    return all(part and all(row["ready"] for row in part) for part in parts)


def _names(row: dict[str, Any]) -> set[str]:
    return {row["name"], row["program"], row["group"]}
