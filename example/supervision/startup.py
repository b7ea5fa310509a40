"""If supervisord cannot start, one line says why, and it exits with 2.

supervisord imports the plugin before it reads the programs, but makes it only after all sockets are
open. What must happen in between is wrapped around supervisord's own functions here, at import.
"""

import errno
import functools
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from supervisor import supervisord
from supervisor.options import FastCGIGroupConfig, ServerOptions
from supervisor.xmlrpc import Faults, RPCError

_main = sys.modules["__main__"]
_is_main = getattr(getattr(_main, "__spec__", None), "name", "") == supervisord.__name__
# `python -m supervisor.supervisord` runs a second copy of that module, with a class of its own.
Supervisor: Any = getattr(_main if _is_main else supervisord, "Supervisor")  # noqa: B009 mypy knows no attribute
"""The class of the supervisord that runs."""
LONGEST_PATH = 107
"""Bytes that a Unix socket's path may have. supervisord binds `PATH.PID` first."""
NAMES_ONLY = {"process_name", "stdout_logfile", "stderr_logfile"}
NO_SERVER = "the file has no [unix_http_server]: supervisorctl ready, roll and scale need one"
HINTS = {
    errno.EADDRINUSE: "another program listens there: stop it, or set another address",
    errno.EACCES: "this user may not listen there: set another address",
    errno.EADDRNOTAVAIL: "this machine has no such address: set another",
}


def around(owner: type, name: str) -> Callable[[Callable[..., Any]], None]:
    """Decorate a function that replaces `owner.name`, and gets the original as first argument."""
    original = getattr(owner, name)

    def put(function: Callable[..., Any]) -> None:
        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(owner, name, wrapped)

    return put


@around(ServerOptions, "process_groups_from_parser")
def _forget_the_programs(original: Any, self: Any, parser: Any) -> list[Any]:
    self.programs = {}  # name -> section of the file
    groups: list[Any] = original(self, parser)
    return groups


@around(ServerOptions, "processes_from_section")
def _note_the_program(
    original: Any, self: Any, parser: Any, section: str, *args: Any, **kwargs: Any
) -> list[Any]:
    """Note of each process which program it belongs to, and where its number occurs."""
    configs: list[Any] = original(self, parser, section, *args, **kwargs)
    program = section.partition(":")[2].strip()
    self.programs[program] = section
    numbered = {key for key, value in parser.items(section) if "%(process_num)" in value}
    for config in configs:
        config.program = program
        # If so, one more process differs in its name alone. With a port in it, two would clash.
        config.only_numbered = "process_name" in numbered and numbered <= NAMES_ONLY
    return configs


@around(Supervisor, "add_process_group")
def _tell_why_not(original: Any, self: Any, config: Any) -> Any:
    try:
        return original(self, config)
    except ValueError as error:
        if not isinstance(config, FastCGIGroupConfig):
            raise
        message = _no_socket(config, error.__context__ or error)
    if self.options.httpservers:  # `supervisorctl update` asks: everything else goes on
        raise RPCError(Faults.FAILED, message)
    return self.options.usage(message)


@around(ServerOptions, "openhttpservers")
def _check_and_open(original: Any, self: Any, supervisord: Any) -> None:
    if found := faults(self):
        self.usage("\n".join(found))
    original(self, supervisord)
    for name, factory, values in _our_sections(self):
        if not self.server_configs:
            # supervisord makes the plugins for each HTTP server, so without one it makes none.
            factory(supervisord, **values)
        if all(server["family"] != socket.AF_UNIX for server in self.server_configs):
            self.logger.warn(f"{name}: {NO_SERVER}")


def faults(options: Any) -> list[str]:
    """Faults in a file that supervisord itself does not find, a line each."""
    return [*_wrong_values(options), *_paths_too_long(options)]


def _our_sections(options: Any) -> list[tuple[str, Callable[..., object], dict[str, str]]]:
    """Name, factory and values of each [rpcinterface:NAME] that is ours."""
    factories = options.rpcinterface_factories
    return [each for each in factories if each[1].__module__ == f"{__package__}.parts"]


def _wrong_values(options: Any) -> Iterator[str]:
    from .parts import wrong

    for name, _, values in _our_sections(options):
        for each in wrong(values):
            yield f"[rpcinterface:{name}] {each}"


def _paths_too_long(options: Any) -> Iterator[str]:
    for server in options.server_configs:
        path = server["file"] if server["family"] == socket.AF_UNIX else ""
        if len(os.fsencode(f"{path}.{os.getpid()}")) > LONGEST_PATH:
            yield (
                f"[{server['section']}] file = {path}: longer than a Unix socket's path may be:"
                f" {LONGEST_PATH} bytes with .{os.getpid()} at its end; choose a shorter one"
            )


def _no_socket(config: Any, error: BaseException) -> str:
    number = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error)
    hint = HINTS.get(number, "set another address") if number else "set another address"
    return f"[fcgi-program:{config.name}] socket = {config.socket_config.url}: {reason}; {hint}"
