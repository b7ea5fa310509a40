"""Where `[fcgi-program:x] socket = tcp://[…]:PORT` listens."""

from collections.abc import Callable
from typing import Any

import pytest

from ..launchers import Launcher
from ..layout import Layout
from ..server import Server

Launch = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("ipv6")


def listening_on(launch: Launch, redis: Server, host: str) -> Layout:
    layout: Layout = launch(Layout, redis)
    layout.only(app=1)
    layout.override("port", f"[fcgi-program:app]\nsocket = tcp://{host}:{layout.port}\n")
    layout.start()
    return layout


def test_all_addresses_are_those_of_ipv4_too(launch: Launch, redis: Server) -> None:
    """Also after a restart; and supervisord sees no change of the file in it."""
    layout = listening_on(launch, redis, "[::]")
    layout.ready()
    layout.ctl("restart", "app:*")
    assert layout.answers("127.0.0.1")
    assert layout.answers("[::1]")
    assert layout.ctl("reread").stdout == "No config updates to processes\n"


def test_one_address_is_that_one_alone(launch: Launch, redis: Server) -> None:
    layout = listening_on(launch, redis, "[0::1]")
    layout.ready()
    assert layout.answers("[::1]")
    assert not layout.answers("127.0.0.1")


def test_a_wrong_address_is_reported(launch: Launch, redis: Server) -> None:
    layout: Layout = launch(Layout, redis)
    layout.only(app=1)
    layout.override("port", "[fcgi-program:app]\nsocket = tcp://[1:2]:80\n")
    Launcher.start(layout)
    assert layout.processes[0].wait(10) == 2
    assert "'1:2' in [fcgi-program:app] socket" in layout.stdout()
