"""example-health: the health of everything that this machine's supervisord runs.

It is for a container's HEALTHCHECK or a monitor. These ask every few seconds, so it must cost
little: it imports little, and speaks XML-RPC and HTTP by hand. It asks supervisord on its control
socket, and app by HTTP. It does not ask Redis, so an absent Redis restarts nothing.
"""

import binascii
import configparser
import os
import re
import socket
import sys
import time
from collections.abc import Iterator

SECONDS = 2.0
"""For each question. A turn of supervisord's loop takes up to a second."""
SILENT_SECONDS = 60.0
"""Without supervisord, a program hangs if it has not touched HEALTH_FILE for so long."""
QUESTION = "<methodCall><methodName>supervision.health</methodName></methodCall>"
NAMES = ("supervisord.conf", "etc/supervisord.conf")
"""Names of the configuration, beside our script's folder, then here, then for the whole machine."""


def main() -> None:
    """Print what is wrong with the programs under supervisord. Exit with 1 if anything is, else 0.

    With --ready, a program that is not ready is wrong, too.
    """
    ready = sys.argv[1:] == ["--ready"]
    if len(sys.argv) > 1 and not ready:
        # Imported in this rare case only: it costs as much as all the rest.
        import argparse

        read = "Reads supervisord.conf as supervisorctl does, or HEALTH_FILE; see docs/image.md."
        parser = argparse.ArgumentParser(description=main.__doc__, epilog=read)
        about = "a program that is not ready is wrong, too"
        parser.add_argument("--ready", action="store_true", help=about)
        parser.parse_args()
    wrong = list(faults(ready))
    print("\n".join(wrong) or "healthy")
    sys.exit(1 if wrong else 0)


def faults(ready: bool = False) -> Iterator[str]:
    """A line for each fault. If `ready`, a program that is not ready is a fault, too.

    The programs are those in the supervisord.conf that supervisorctl would find. It is no fault if
    one was stopped by hand, or is starting. If app is ready, it must answer /livez on the socket
    that supervisord holds for it. In a container that runs one program without supervisord, that
    program must have touched HEALTH_FILE.
    """
    alone = os.environ.get("HEALTH_FILE", "")
    if os.path.exists(alone):
        silent = time.time() - os.stat(alone).st_mtime
        if silent > SILENT_SECONDS:
            yield f"the program has been silent for {silent:.0f} s"
        return
    try:
        told = _ask_supervisord()
    except (OSError, ValueError) as error:
        yield f"supervisord does not answer: {error}"
        return
    if told is None:
        yield "supervisord does not offer it: is the part `ready` or `health` off?"
    for line in (told or "").splitlines():
        kind, _, rest = line.partition(" ")
        group, _, where = rest.partition(" ")
        if kind == "wrong":
            yield rest
        elif kind == "waits" and ready:
            yield f"{rest} is not ready"
        elif kind == "listens" and group == "app" and not _lives(where):
            yield f"app does not answer /livez at {where}"


def _ask_supervisord() -> str | None:
    """What the plugin's `health` says; None if it has no such method."""
    url, name, password = control()
    login = binascii.b2a_base64(f"{name}:{password}".encode(), newline=False).decode()
    headers = f"Authorization: Basic {login}\r\nContent-Type: text/xml\r\n"
    request = f"POST /RPC2 HTTP/1.0\r\n{headers}Content-Length: {len(QUESTION)}\r\n\r\n{QUESTION}"
    status, answer = _http(url, request)
    if status != 200:
        raise ValueError(answer.partition("\r\n")[0])
    if "<fault>" in answer:
        return None
    found = re.search("<params>.*<string>(.*)</string>", answer, re.DOTALL)
    if not found:
        raise ValueError("its answer is not what it should be")
    return found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def control() -> tuple[str, str, str]:
    """supervisord's control socket: its URL, username and password, as supervisorctl finds them.

    Raises ValueError if no configuration names it.
    """
    beside = os.path.dirname(sys.argv[0])
    places = [f"{beside}/../{name}" for name in reversed(NAMES)] + [*NAMES]
    places += ["/etc/supervisord.conf", "/etc/supervisor/supervisord.conf"]
    path = next((os.path.abspath(each) for each in places if os.path.exists(each)), "")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read(path)
        section = parser["supervisorctl"]
        values = {"here": os.path.dirname(path)}
        values |= {f"ENV_{name}": value for name, value in os.environ.items()}
        url, name, password = (
            section.get(key, default) % values
            for key, default in (
                ("serverurl", "http://localhost:9001"),
                ("username", ""),
                ("password", ""),
            )
        )
    except (configparser.Error, KeyError):
        where = path or " or ".join(places)
        raise ValueError(f"no [supervisorctl] that says where it is in {where}") from None
    return url, name, password


def _lives(where: str) -> bool:
    """Whether an application answers. One without /livez says 404, and lives."""
    request = "GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n"
    for ask in (_http, _https):
        try:
            return ask(where, request)[0] < 500
        except TimeoutError:
            return False
        except (OSError, ValueError):  # whoever wants TLS hangs up
            continue
    return False


def _http(url: str, request: str) -> tuple[int, str]:
    """The status and all of the answer, from unix://PATH or SCHEME://HOST:PORT.

    Raises OSError if there is none in SECONDS, ValueError if it is not HTTP.
    """
    with connect(url) as connection:
        return _exchange(connection, request)


def _https(url: str, request: str) -> tuple[int, str]:
    """The same by TLS. Whose certificate it is does not matter: this machine's own app is asked."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(url) as plain, context.wrap_socket(plain) as connection:
        try:
            return _exchange(connection, request)
        except (ConnectionError, ssl.SSLError, ValueError):
            # It has shown its certificate, and hangs up since it wants to see ours: it lives.
            return 403, ""


def _exchange(connection: socket.socket, request: str) -> tuple[int, str]:
    connection.sendall(request.encode())
    answer = _read(connection).decode(errors="replace")
    head = answer.partition("\r\n")[0]
    found = re.match(r"HTTP/1\.\d (\d{3})\b", head)
    if not found:
        raise ValueError(head.strip() or "nothing came")
    return int(found[1]), answer


def _read(connection: socket.socket) -> bytes:
    """The whole answer; only its beginning if that is not HTTP, since it may never end."""
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
        if not answer.startswith(b"HTTP/"[: len(answer)]):
            break
    return answer


def connect(url: str) -> socket.socket:
    """A connection to unix://PATH or SCHEME://HOST:PORT that waits SECONDS; else OSError."""
    scheme, _, where = url.partition("://")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        try:
            connection.connect(where)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = where.rstrip("/").rpartition(":")
    host = host.strip("[]")
    # A server on all addresses of this machine also listens on the loopback address.
    loopback = {"::": "localhost", "0.0.0.0": "127.0.0.1"}  # noqa: S104
    return socket.create_connection((loopback.get(host, host), int(port)), SECONDS)
