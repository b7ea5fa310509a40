"""`[fcgi-program:x] socket = tcp://[::]:5000`, and other IPv6 addresses in brackets.

supervisord itself reads and opens IPv4 only. It imports the plugin before it reads the programs, so
it knows by then what this file teaches it. It opens all other sockets as before.
"""

import ipaddress
import re
import socket
from typing import Any

from supervisor.datatypes import InetStreamSocketConfig
from supervisor.options import ServerOptions


class Inet6StreamSocketConfig(InetStreamSocketConfig):  # type: ignore[misc]  # no types
    """One IPv6 address; `::` is all addresses of the machine, IPv4 too."""

    def __init__(self, host: str, port: str, backlog: int | None):
        super().__init__(str(ipaddress.IPv6Address(host)), port, backlog=backlog)
        self.url = f"tcp://[{self.host}]:{self.port}"

    def create_and_bind(self) -> socket.socket:
        everywhere = self.host == "::"
        if everywhere and not socket.has_dualstack_ipv6():
            stock: socket.socket = InetStreamSocketConfig("0.0.0.0", self.port).create_and_bind()  # noqa: S104
            return stock
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not everywhere)
            listener.bind(self.addr())
        except OSError:
            listener.close()
            raise
        return listener


def teach() -> None:
    """Have supervisord read IPv6 addresses; does nothing the second time."""
    original = ServerOptions.parse_fcgi_socket
    if hasattr(original, "__wrapped__"):
        return

    def parse_fcgi_socket(
        self: Any, sock: str, uid: Any, owner: Any, mode: Any, backlog: int | None
    ) -> Any:
        found = re.fullmatch(r"tcp://\[([0-9A-Fa-f:.]+)\]:(\d+)", sock)
        if found and owner is None and mode is None:
            return Inet6StreamSocketConfig(found[1], found[2], backlog)
        return original(self, sock, uid, owner, mode, backlog)

    parse_fcgi_socket.__wrapped__ = original  # type: ignore[attr-defined]
    ServerOptions.parse_fcgi_socket = parse_fcgi_socket


teach()
