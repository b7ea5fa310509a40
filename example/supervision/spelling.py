"""Warns of two traps in supervisord's files: a % in a value, and a folder called `a[1]`.

A % begins a placeholder, so `%40` in a password must be written `%%40`. The name of the file's
folder becomes part of the patterns in [include], where [, * and ? match something else.
"""

import glob
import re
from typing import Any

from supervisor.options import ServerOptions

from .startup import around

LONE_PERCENT = re.compile(r"(?<!%)(?:%%)*%(?![%(])")


@around(ServerOptions, "process_groups_from_parser")
def _see_a_folder_with_a_pattern(original: Any, self: Any, parser: Any) -> list[Any]:
    if parser.has_section("include") and self.here and glob.has_magic(self.here):
        self.parse_warnings.append(
            f"[include] files: nothing below {self.here} is found, since [, * and ? in the name of"
            " the folder are taken for a pattern: call it something else"
        )
    groups: list[Any] = original(self, parser)
    return groups


@around(ServerOptions, "processes_from_section")
def _see_a_lone_percent(
    original: Any, self: Any, parser: Any, section: str, *args: Any, **kwargs: Any
) -> list[Any]:
    # The value may hold a secret, and stays out of the message.
    wrong = "environment" in parser[section] and LONE_PERCENT.search(parser[section]["environment"])
    advice = f"[{section}] environment: a % that stands for itself must be written %%"
    try:
        configs: list[Any] = original(self, parser, section, *args, **kwargs)
    except ValueError:
        if wrong:
            raise ValueError(advice) from None
        raise
    if wrong:
        self.parse_warnings.append(advice)
    return configs
