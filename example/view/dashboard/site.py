"""What the server answers: the page, the actions of an operator, and metrics."""

import asyncio
import importlib.resources
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from .. import metrics
from . import render
from .access import SESSION_SECONDS, Access, Guarded, cookie_name, is_own_origin
from .actions import Actions
from .page import Page
from .source import Seen

FORM_BYTES = 16384
FORM_SECONDS = 3.0
GUESS_SECONDS = 0.5
"""How long the answer to a wrong token is held back."""
MOST_GUESSES = 10
"""How many wrong tokens may wait for that at a time; more get 429 at once."""
T = TypeVar("T")

STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def make(
    access: Access,
    redis_url: str,
    redis_key: str,
    queue_limit: int,
    schedule: Mapping[str, object],
) -> Any:
    """The ASGI application."""
    page = Page(redis_url, redis_key, queue_limit, schedule)
    site = Site(access, page, Actions(redis_url, redis_key))
    app = Starlette(
        routes=[
            Route("/", site.show),
            Route("/login", site.log_in, methods=["POST"]),
            Route("/log-out", site.log_out, methods=["POST"]),
            Route("/do/{action}", site.act, methods=["POST"]),
            Route("/metrics", site.metrics),
            *(Route(f"/static/{name}", _static(name, kind)) for name, kind in STATIC.items()),
        ],
        exception_handlers={HTTPException: _refused},
    )
    return Guarded(app, access)


class Site:
    """The handlers of the routes."""

    def __init__(self, access: Access, page: Page, actions: Actions) -> None:
        self._access = access
        self._page = page
        self._actions = actions
        self._guesses = 0

    async def show(self, request: Request) -> Response:
        """The page. If the address holds the token, log in and redirect to the one without it."""
        if "token" in request.query_params:
            return await self._enter(request, request.query_params["token"])
        session = self._access.session(request)
        if not session:
            return _html("closed.html", 401, wrong=False)
        shown = await self._page.context(request.query_params.get("before"))
        shown["operations"] = self._actions.operations.recent()
        return _html("page.html", 200, **shown, word=self._access.form_token(session))

    async def log_in(self, request: Request) -> Response:
        """Give whoever sends the token a cookie, and show the page."""
        _check_origin(request)
        return await self._enter(request, (await _form(request)).get("token", ""))

    async def _enter(self, request: Request, token: str) -> Response:
        if not self._access.knows(token):
            await self._hold_up_guesses()
            return _html("closed.html", 401, wrong=True)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            cookie_name(request),
            self._access.new_session(),
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def _hold_up_guesses(self) -> None:
        if self._guesses >= MOST_GUESSES:
            raise HTTPException(429, "Too many wrong tokens at a time.")
        self._guesses += 1
        try:
            await asyncio.sleep(GUESS_SECONDS)
        finally:
            self._guesses -= 1

    async def log_out(self, request: Request) -> Response:
        """Take the cookie back."""
        await self._own_form(request)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(cookie_name(request))
        return answer

    async def _own_form(self, request: Request) -> dict[str, str]:
        """The fields of a form that our own page has sent, in a valid session."""
        session = self._access.session(request)
        if not session:
            raise HTTPException(401, "You are logged out: open the page again.")
        _check_origin(request)
        form = await _form(request)
        if not self._access.is_own_form(session, form.get("word", "")):
            raise HTTPException(403, "This form is not from your session: reload the page.")
        return form

    async def act(self, request: Request) -> Response:
        """Carry out the action of a button, and show the page. Ask before anything is lost."""
        form = await self._own_form(request)
        word = form.pop("word")
        before = form.get("before")
        name = request.path_params["action"]
        if name not in self._actions.all:
            raise HTTPException(404, "There is nothing here.")
        action = self._actions.all[name]
        if action.question and form.pop("sure", "") != "yes":
            question = action.question(form)
            return _html("confirm.html", 200, name=name, question=question, form=form, word=word)
        try:
            await action.carry_out(form)
        except (KeyError, ValueError):
            raise HTTPException(400, "A field is missing or wrong: reload the page.") from None
        self._page.forget()
        return RedirectResponse("/?" + urlencode({"before": before}) if before else "/", 303)

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus, which cannot log in, and sends the token with each request."""
        if not self._access.bears_token(request):
            bearer = {"WWW-Authenticate": "Bearer"}
            return PlainTextResponse("Authorization: Bearer TOKEN is needed\n", 401, bearer)
        queue, rows = await self._page.look()
        text = metrics.text(_present(queue), self._page.limit, _present(rows))
        return Response(text, media_type=metrics.CONTENT_TYPE)


def _present(seen: Seen[T]) -> T | None:
    return None if seen.trouble else seen.value


def _check_origin(request: Request) -> None:
    if not is_own_origin(request):
        raise HTTPException(403, "This request came from another web page.")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, which must be small and arrive within FORM_SECONDS."""
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > FORM_BYTES:
                    raise HTTPException(413, "The form is too large.")
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20)
    except TimeoutError:
        raise HTTPException(408, "The form did not arrive in time.") from None
    except ValueError:
        raise HTTPException(400, "This is not a form.") from None
    return dict(fields)


def _static(name: str, kind: str) -> Any:
    content = importlib.resources.files(__package__).joinpath("static", name).read_bytes()

    async def static(_: Request) -> Response:
        return Response(content, media_type=kind)

    return static


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _html("refused.html", error.status_code, why=error.detail)
    answer.headers.update(error.headers or {})
    if error.status_code in (408, 413):
        # Do not wait for the rest of the request.
        answer.headers["connection"] = "close"
    return answer


def _html(template: str, status: int, **values: object) -> Response:
    return HTMLResponse(render.html(template, **values), status)
