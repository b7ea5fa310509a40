"""python -m example: the programs as children of one parent.

TERM, HUP or Ctrl-C stops all of them, Redis last. When one dies the rest are stopped too, and
the parent's exit status is 1. supervisord does more: this is for a terminal.
"""

import sys

from .console import load_settings, take_no_arguments
from .programs import PROGRAMS
from .runtime.lifeline import AFTER_DRAIN
from .runtime.parent import Parent


def main() -> int:
    take_no_arguments(__doc__, "python -m example")
    settings = load_settings()
    programs = {name: each.start for name, each in PROGRAMS.items() if each.is_part}
    return Parent(programs, last="redis").live(kill_after=settings.drain_seconds + AFTER_DRAIN)


if __name__ == "__main__":
    sys.exit(main())
