"""`supervisorctl tail` shows any log, whatever bytes a program has written.

XML allows no control characters but tab and line ends, so supervisorctl cannot read an answer with
one, such as the ESC of a colour. And stock supervisord decodes valid UTF-8 only. Here control
characters are shown as ^[ and ^@, as by `cat -v`, and bytes that are no UTF-8 as U+FFFD.
"""

import re
from collections.abc import Callable
from typing import Any

from supervisor import options, rpcinterface, xmlrpc

from .plugin import Plugin

NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def install(plugin: Plugin, _: object) -> None:
    plugin.around(xmlrpc, "xmlrpc_marshal", marshal)
    # One reads the end of a log, the other any part of it.
    plugin.around(options, "as_string", decode)
    plugin.around(rpcinterface, "as_string", decode)


def marshal(original: Callable[[Any], str], value: Any) -> str:
    return NOT_IN_XML.sub(_shown, original(value))


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"^{chr(code + 64)}" if code < 32 else "\ufffd"


def decode(original: Callable[..., str], text: str | bytes, encoding: str = "utf-8") -> str:
    if isinstance(text, bytes):
        return text.decode(encoding, "replace")
    return original(text, encoding)
