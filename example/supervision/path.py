"""Commands beside supervisord's own are found, even if nobody has activated the venv."""

import os
import sys

from .plugin import Plugin


def install(plugin: Plugin, place: str) -> None:
    """Have supervisord search the folder of this Python, before or after PATH.

    With "last", programs keep the PATH that they would have without us. With "first", they inherit
    the changed one.
    """
    here = os.path.dirname(sys.executable)

    def search_last(path: list[str]) -> None:
        if here not in path:
            path.append(here)

    if place == "first":
        others = [folder for folder in plugin.options.get_path() if folder != here]
        os.environ["PATH"] = os.pathsep.join([here, *others])
    else:
        plugin.after(plugin.options, "get_path", search_last)
