"""What runs inside supervisord and supervisorctl. Nothing here imports your files.

One plugin of many small parts, each switched by one line:

    [rpcinterface:supervision]
    supervisor.rpcinterface_factory = example.supervision:make
    logs = on

With all parts off, plain supervisord is back. The parts and their values: docs/supervision.md.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`make`, once supervisord asks for it: supervisorctl and others import less."""
    if name != "make":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .parts import make

    return make
