"""Commands beside supervisord's own are found, also when nobody has activated the venv."""

import os
import sys

from .guard import Plugin


def install(plugin: Plugin, _: object) -> None:
    """Put the folder of this Python first on the PATH that supervisord searches and hands on."""
    here = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if here not in path:
        os.environ["PATH"] = os.pathsep.join([here, *path])
