"""Memory is superlance's trade: memmon, as shipped, replaces without losing what is in hand."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..launchers import SCRIPTS
from ..layout import ROOT
from .foreign import EVENTS, Foreign

Make = Callable[..., Foreign]

# Holds 100 MB from its second line on, once; ends what it has in hand before it goes.
HOG = """
import os, signal, sys, time
def stop(*_):
    print("drains")
    time.sleep(0.5)
    print("drained")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if not os.path.exists(sys.argv[0] + ".once"):
    open(sys.argv[0] + ".once", "w").close()
    much = bytearray(100 << 20)
print("works")
while True:
    time.sleep(0.1)
"""


@pytest.mark.skipif(not shutil.which("ps"), reason="memmon asks ps")
def test_memmon_drains_and_replaces(foreign: Make, folder: Path) -> None:
    """The one above the limit is stopped in peace and started again; the other is left alone."""
    (folder / "hog.py").write_text(HOG)
    (folder / "var").mkdir()
    section = (ROOT / "supervisord.d" / "memmon.conf.example").read_text()
    section = section.replace("500MB", "80MB").replace("TICK_60", "TICK_5").replace("/..", "")
    here = foreign(
        f"[program:worker]\ncommand = {SCRIPTS}/python -u {folder}/hog.py\n{EVENTS}"
        f"[program:small]\ncommand = /bin/sleep 1000\n{section}"
    ).start()
    here.running("small", "memmon")
    small = here.pid("small")
    here.eventually(lambda: here.stdout().count("worker | works") == 2, within=30)
    here.running("worker")
    assert "worker | drained" in here.stdout()
    assert here.pid("small") == small
    assert "exit status 0, stopped" in here.ctl("ready", "worker").stdout
