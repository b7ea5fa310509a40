"""Access control: whoever knows the token may look, and nobody else, least of all other web pages.

Three checks stop another web page in the same browser. The cookie is SameSite=Strict. A POST needs
our own Origin, and a CSRF token from our own page. A Host must be an IP address or a name of ours,
which stops DNS rebinding.
"""

import hashlib
import hmac
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

logger = logging.getLogger(__name__)

SESSION_SECONDS = 7 * 86400.0
"""How long a cookie is valid. After that the browser needs the token again."""
TELL_SECONDS = 1.0
"""Wrong tokens are logged once in this time."""
LOCAL = "localhost"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms, too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Access:
    """Checks requests for the `token`. `hosts` are our names, beside localhost."""

    def __init__(self, token: str, hosts: Iterable[str] = ()) -> None:
        self._token = token.encode()
        self._hosts = {LOCAL, *(host.lower() for host in hosts)}
        self._told = -TELL_SECONDS

    def knows(self, token: str) -> bool:
        """Whether this is the token. That a wrong one was given is logged, without its text."""
        if hmac.compare_digest(token.encode(), self._token):
            return True
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            logger.warning("somebody gave a wrong token")
        return False

    def bears_token(self, request: HTTPConnection) -> bool:
        """Whether a request has the token in its header `Authorization: Bearer …`."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.knows(token.strip())

    def new_session(self) -> str:
        """The cookie for a browser that has given the token."""
        name = f"{int(time.time())}-{secrets.token_urlsafe(16)}"
        return f"{name}.{self._sign('session', name)}"

    def session(self, request: HTTPConnection) -> str:
        """The session that a request belongs to, or ''."""
        given = request.cookies.get(cookie_name(request), "")
        name, _, signature = given.partition(".")
        begun, _, _ = name.partition("-")
        real = hmac.compare_digest(signature.encode(), self._sign("session", name).encode())
        fresh = real and 0 <= time.time() - float(begun) < SESSION_SECONDS
        return name if fresh else ""

    def form_token(self, session: str) -> str:
        """The CSRF token in the forms of a session. Another web page cannot know it."""
        return self._sign("form", session)

    def is_own_form(self, session: str, word: str) -> bool:
        """Whether `word` is the session's `form_token`."""
        return hmac.compare_digest(word.encode(), self.form_token(session).encode())

    def is_own_host(self, host: str) -> bool:
        """Whether `host`, of a Host header, is an IP address or a name of ours.

        In a DNS rebinding attack it is the attacker's name, and no address.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._hosts:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _sign(self, what: str, text: str) -> str:
        return hmac.new(self._token, f"{what} {text}".encode(), hashlib.sha256).hexdigest()


def cookie_name(request: HTTPConnection) -> str:
    """One for each port: browsers send a cookie to all ports of a host, as of two tunnels."""
    return f"dashboard-{request.url.port or request.url.scheme}"


def is_own_origin(request: HTTPConnection) -> bool:
    """Whether a request comes from our own page: browsers send Origin with each POST.

    The scheme may differ, since a proxy may end TLS.
    """
    scheme, _, host = request.headers.get("origin", "").partition("://")
    return scheme in ("http", "https") and host == request.headers.get("host")


class Guarded:
    """The ASGI application `app`: refuses unknown hosts, and adds HEADERS to each response."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self._app
        if not self._access.is_own_host(HTTPConnection(scope).headers.get("host", "")):
            reason = "unknown host: use 127.0.0.1 or localhost, or add it to DASHBOARD_HOSTS\n"
            app = PlainTextResponse(reason, 421)
        await app(scope, receive, guarded)
