"""SyncProducer in Flask and Django, as a WSGI server has it: in threads, and in processes that are
forked after it was used."""

import http.client
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..launchers import Launcher
from ..server import Server

ORDER = """
import os, socketserver, sys
from wsgiref.simple_server import WSGIServer, make_server

from example.runtime import producer
from example.runtime.link import ERRORS
from example.runtime.producer import QueueFullError, SyncProducer

producer.PUSH_SECONDS = 0.5
queue = SyncProducer(os.environ["REDIS_URL"], "TESTING", 1000)

def status(item):
    try:
        queue.push(item)
    except (QueueFullError, *ERRORS):
        return 503
    return 202
"""
FLASK = """
from flask import Flask

application = Flask("shop")

@application.get("/<item>")
def order(item):
    return "", status(item)
"""
DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def order(request, item):
    return HttpResponse(status=status(item))

urlpatterns = [path("<item>", order)]
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="none")
application = get_wsgi_application()
"""
SERVE = """
class Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

server = make_server("127.0.0.1", int(os.environ["PORT"]), application, Threads)
status("at start")
os.fork()
server.serve_forever()
"""


@pytest.mark.parametrize("site", [FLASK, DJANGO], ids=["flask", "django"])
def test_all_threads_and_processes_push_and_none_waits_for_a_frozen_redis_twice(
    launch: Callable[..., Any], redis: Server, site: str
) -> None:
    def kind(folder: Path, redis: Server) -> Launcher:
        (folder / "main.py").write_text(ORDER + site + SERVE)
        return Launcher(folder, redis, [Path(sys.executable).name, "main.py"])

    web = launch(kind, redis)
    web.start()
    web.eventually(lambda: get(web, "first") == 202)
    with ThreadPoolExecutor(20) as threads:
        orders = [f"order-{each}" for each in range(200)]
        assert set(threads.map(lambda item: get(web, item), orders)) == {202}
        items: Any = redis.client.lrange("TESTING", 0, -1)
        assert sorted(item.decode() for item in items) == sorted(["at start", "first", *orders])
        redis.signal(signal.SIGSTOP)
        try:
            # Each has half a second; one after the other would take ten.
            assert set(threads.map(lambda item: get(web, item), orders[:20])) == {503}
        finally:
            redis.signal(signal.SIGCONT)
    assert get(web, "last") == 202


def get(web: Launcher, item: str) -> int:
    """The answer's status; 0 if there is none, or not within five seconds."""
    client = http.client.HTTPConnection("127.0.0.1", web.port, timeout=5)
    try:
        client.request("GET", f"/{item}")
        return client.getresponse().status
    except OSError:
        return 0
    finally:
        client.close()
