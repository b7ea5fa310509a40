"""Where `example-app` listens when nobody hands it a socket."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from ..launchers import Launcher, only_app
from ..server import Server

pytestmark = pytest.mark.usefixtures("ipv6")


@pytest.mark.parametrize(
    ("host", "four", "six"),
    [("127.0.0.1", True, False), ("::1", False, True), ("::", True, True)],
)
def test_it_listens_on_what_host_says(
    host: str, four: bool, six: bool, launch: Callable[..., Any], redis: Server
) -> None:
    """`::` is all addresses, of both kinds."""
    app: Launcher = launch(only_app, redis, HOST=host)
    app.start()
    app.eventually(lambda: "app ready: " in app.stdout())
    assert (app.answers("127.0.0.1"), app.answers("[::1]")) == (four, six)


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_a_name_is_all_of_its_addresses_or_none(
    taken: str, launch: Callable[..., Any], redis: Server
) -> None:
    """localhost is two addresses if the machine has both: another program may have neither."""
    if len({each[4][0] for each in socket.getaddrinfo("localhost", 80)}) < 2:
        pytest.skip("localhost has one address here")
    app: Launcher = launch(only_app, redis, HOST="localhost")
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, app.port), family=family):
        app.start()
        assert app.processes[0].wait(20) == 3
    assert f"cannot listen on localhost:{app.port}: Address already in use" in app.stdout()
    assert "Traceback" not in app.stdout()
