"""The server's options: UVICORN_* in the environment, as uvicorn's own command reads them."""

import ipaddress
import math
import os
import re
import ssl
from pathlib import Path
from typing import Any

import click
import uvicorn
from uvicorn.config import WS_PROTOCOLS
from uvicorn.importer import ImportFromStringError, import_from_string

PREFIX = "UVICORN_"

OURS: dict[str, Any] = {
    # Longer than balancers leave a connection idle (60 s is common): otherwise a
    # connection may be closed here just as a request is sent on it.
    "timeout_keep_alive": 75,
    # It would cost more than many an answer.
    "access_log": False,
}
"""What is not uvicorn's default."""

ELSEWHERE = {
    "app": "the application is `app` in api.py",
    "app_dir": "the application is `app` in api.py",
    "host": "set HOST, or `socket` in supervisord.conf",
    "port": "set PORT, or `socket` in supervisord.conf",
    "uds": "set `socket = unix:///path` in supervisord.conf",
    "fd": "a listening socket at descriptor 0 is used anyway",
    "workers": "set `numprocs` in supervisord.conf",
    "reload": "use `supervisorctl roll app`",
    "reload_dirs": "use `supervisorctl roll app`",
    "reload_includes": "use `supervisorctl roll app`",
    "reload_excludes": "use `supervisorctl roll app`",
    "reload_delay": "use `supervisorctl roll app`",
    "loop": "it is uvloop",
    "http2": "let the balancer speak it",
    "env_file": "set `environment` in supervisord.conf",
    "log_config": "set LOG_FORMAT",
    "log_level": "set LOG_LEVEL",
    "use_colors": "set LOG_FORMAT",
    "timeout_graceful_shutdown": "set DRAIN_SECONDS",
    "timeout_worker_healthcheck": "set `watchdog` in supervisord.conf",
    "version": "it is not an option",
}
"""What uvicorn's command has and is something else here; and what that is."""


NEEDED = {"ssl_": "ssl_certfile", "limit_max_requests_": "limit_max_requests"}
"""Options that begin so, and what they need."""
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~\x80-\xff]*")
"""A header field: RFC 9110, 5.1 and 5.5."""


class OptionsError(Exception):
    """One or more variables hold what they must not; the message names each of them."""


def read() -> dict[str, Any]:
    """Arguments for `uvicorn.Config`, from the environment.

    Raises OptionsError, which tells all that is wrong at once.
    """
    command = uvicorn.main
    context = click.Context(command, auto_envvar_prefix=PREFIX.rstrip("_"))
    options, wrong = dict(OURS), []
    known = {f"{PREFIX}{each.name.upper()}": each for each in command.params if each.name}
    # An empty one counts as none, as it does for uvicorn's command.
    for variable in sorted(each for each in os.environ if each.startswith(PREFIX)):
        if not os.environ[variable]:
            continue
        parameter = known.get(variable)
        try:
            if parameter is None or not parameter.name:
                raise ValueError("there is no such option")
            if parameter.name in ELSEWHERE:
                raise ValueError(ELSEWHERE[parameter.name])
            value, _ = parameter.handle_parse_result(context, {}, [])
            options[parameter.name] = _checked(parameter.name, value)
        except (click.UsageError, ImportFromStringError, ImportError, OSError, ValueError) as error:
            text = error.message if isinstance(error, click.UsageError) else str(error)
            wrong.append(f"{variable}: {text}")
    wrong += _missing(options)
    if allowed := os.environ.get("FORWARDED_ALLOW_IPS"):
        try:
            _checked("forwarded_allow_ips", allowed)
        except ValueError as error:
            wrong.append(f"FORWARDED_ALLOW_IPS: {error}")
    if wrong:
        raise OptionsError("\n".join(f"wrong setting: {line}" for line in wrong))
    return options


def _missing(options: dict[str, Any]) -> list[str]:
    """What others have no effect without."""
    return [
        f"{PREFIX}{needed.upper()}: is missing beside {PREFIX}{name.upper()}"
        for name in options
        for prefix, needed in NEEDED.items()
        if name.startswith(prefix) and needed not in options
    ]


def _checked(name: str, value: Any) -> Any:
    """What uvicorn would take and then not serve with."""
    least = 1 if name.startswith("limit_") and name != "limit_max_requests_jitter" else 0
    if isinstance(value, int | float) and not least <= value < math.inf:
        raise ValueError(f"{value:g} is not a number from {least} on")
    if name == "http" and value not in ("auto", "h11", "httptools"):
        raise ValueError(f"{value!r} is not auto, h11 or httptools")
    if name == "root_path" and value and (value[0] != "/" or value[-1] == "/"):
        raise ValueError(f"{value!r} does not begin with /, or ends with it")
    if name == "ws" and value not in ("auto", "none"):
        import_from_string(WS_PROTOCOLS.get(value, value))
    if name in ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs"):
        Path(value).read_bytes()
    if name == "ssl_cert_reqs":
        ssl.VerifyMode(value)
    if name == "ssl_version":
        ssl.SSLContext(value).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    if name == "headers":
        if not all(map(HEADER.fullmatch, value)):
            raise ValueError("is not Name:value, with blanks between several")
        return [tuple(header.split(":", 1)) for header in value]
    if name == "forwarded_allow_ips" and value != "*":
        for host in value.split(","):
            ipaddress.ip_network(host.strip())
    return value
