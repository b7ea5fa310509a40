"""Who takes part in the stack's measures, and the files that a person writes for each."""

from collections.abc import Callable
from dataclasses import dataclass

import example
from instruments.bench.app import PLUGIN
from instruments.faults.columns import EXAMPLE
from tests.launchers import ARTICLE
from tests.layout import ROOT

from .contenders import HERE, PEERS

Files = dict[str, str]
"""Name -> text; in braces stand the names of Running.PLACE."""


@dataclass(frozen=True)
class Stack:
    name: str
    runs: str
    """The processes, in words."""
    death: str
    """What its documentation says will happen when one of them dies."""
    command: str
    files: Files
    venv: str = HERE
    """In whose bin the command is."""
    restart: str = ""
    """How app alone is restarted, by the documentation. Empty: all is ended, and started again."""
    push: str = ""
    """Python that pushes one item. Empty: LPUSH on the plain list."""
    conf: Callable[[], str] | None = None
    """The text of supervisord.conf as it is, braces too."""


def shipped() -> str:
    return (ROOT / "supervisord.conf").read_text()


def unplugged() -> str:
    """Without what supervisor itself doesn't have."""
    return PLUGIN.sub("", shipped())


PORT = "[fcgi-program:app]\nsocket = tcp://127.0.0.1:{port}\n"
ONE = "numprocs = 1\n[program:beat]\nnumprocs = 1\n[program:redis]\nautostart = false\n"

# What hooks.py is to the article's file: the application of all, and a mark for each item.
HOOKS = """\
import stack_tick
from on_http import app


def api(hello):
    return app


def tick(text):
    return text


async def work(item):
    stack_tick.done()
"""

STOCK = """\
[supervisord]
nodaemon = true
childlogdir = {folder}
[unix_http_server]
file = {folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/s.sock
"""

# As uvicorn's documentation has it for supervisord.
UVICORN = """\
[fcgi-program:app]
socket = tcp://127.0.0.1:{port}
command = {peers}/uvicorn --fd 0 on_http:app
"""


def supervised(commands: Files) -> str:
    """A supervisord.conf with these programs, all other keys at supervisor's defaults."""
    return STOCK + "".join(
        f"[program:{name}]\ncommand = {command}\nautorestart = true\n"
        for name, command in commands.items()
    )


def under_stock(commands: Files) -> Files:
    return {"supervisord.conf": supervised(commands) + UVICORN}


ARTICLE_FILES = {
    f"{example.__name__}.py": EXAMPLE.replace("{", "{{").replace("}", "}}"),
    "hooks.py": HOOKS,
}
THREE = {
    "app": '{ours}/python -c "import example; example.start_app()"',
    "beat": '{ours}/python -c "import example; example.start_beat()"',
    "worker": '{ours}/python -c "import example; example.start_worker()"',
}

CIRCUS = """\
[circus]
endpoint = tcp://127.0.0.1:{control}
pubsub_endpoint = tcp://127.0.0.1:{news}
[watcher:app]
cmd = {ours}/uvicorn --fd $(circus.sockets.web) example:app
use_sockets = True
copy_env = True
[watcher:beat]
cmd = {ours}/example-beat
copy_env = True
[watcher:worker]
cmd = {ours}/example-worker
copy_env = True
[socket:web]
host = 127.0.0.1
port = {port}
"""

PROCFILE = """\
app: {ours}/uvicorn example:app --port $PORT
beat: {ours}/example-beat
worker: {ours}/example-worker
"""

SUPERVISORD = "supervisord -c supervisord.conf"
RESTART = "supervisorctl restart app:*"
AGAIN = "starts it again at once; gives up where 4 starts in a row ended within 1 s"
PATIENT = "starts it again, and waits longer each time; what never was ready ends all, with 70"

STACKS = [
    Stack(
        "ours, as shipped",
        "2 app, 2 beat, worker, a redis that waits",
        PATIENT,
        SUPERVISORD,
        {"supervisord.d/port.conf": PORT},
        restart="supervisorctl roll app",
        conf=shipped,
    ),
    Stack(
        "ours, one of each",
        "app, beat, worker",
        PATIENT,
        SUPERVISORD,
        {"supervisord.d/port.conf": PORT + ONE},
        restart="supervisorctl roll app",
        conf=shipped,
    ),
    Stack(
        "ours, python -m example",
        "app, beat, worker",
        "ends the others, with 1",
        "python -m example",
        {},
    ),
    Stack(
        "stock supervisord",
        "our app, beat, worker",
        AGAIN,
        SUPERVISORD,
        {"supervisord.d/port.conf": PORT + ONE},
        restart=RESTART,
        conf=unplugged,
    ),
    Stack(
        "honcho",
        "our app, beat, worker",
        "ends the others, with its status",
        "honcho start -p {port}",
        {"Procfile": PROCFILE},
        PEERS,
    ),
    Stack(
        "circus",
        "our app, beat, worker",
        "starts it again at once, as often as it dies",
        "circusd circus.ini",
        {"circus.ini": CIRCUS},
        PEERS,
        "{peers}/circusctl --endpoint tcp://127.0.0.1:{control} reload app --waiting",
    ),
    Stack(
        "the article's main.py",
        "app, beat, worker",
        "nothing",
        "python main.py",
        ARTICLE_FILES | {"main.py": ARTICLE},
    ),
    Stack(
        "the article's, stock supervisord",
        "app, beat, worker",
        AGAIN,
        SUPERVISORD,
        ARTICLE_FILES | {"supervisord.conf": supervised(THREE)},
        restart=RESTART,
    ),
    Stack(
        "celery, stock supervisord",
        "uvicorn, celery beat, celery worker of 2",
        AGAIN,
        SUPERVISORD,
        under_stock(
            {
                "beat": "{peers}/celery -A stack_celery beat",
                # As celery's own file for supervisord has it.
                "worker": "{peers}/celery -A stack_celery worker\nstopwaitsecs = 600",
            }
        ),
        restart=RESTART,
        push="import stack_celery; stack_celery.tick.delay()",
    ),
    Stack(
        "arq, stock supervisord",
        "uvicorn, arq with its cron",
        AGAIN,
        SUPERVISORD,
        under_stock({"worker": "{arq}/arq stack_arq.WorkerSettings"}),
        restart=RESTART,
        push="import stack_arq; stack_arq.push()",
    ),
    Stack(
        "rq, stock supervisord",
        "uvicorn, rq cron, rq worker",
        AGAIN,
        SUPERVISORD,
        under_stock(
            {"beat": "{peers}/rq cron -u {url} stack_rq", "worker": "{peers}/rq worker -u {url}"}
        ),
        restart=RESTART,
        push="import stack_rq; stack_rq.push()",
    ),
]
