"""Yours: the Web API. Any ASGI application named `app` will do.

docs/web.md says what is around it, and docs/queue.md how it pushes on the queue.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


app = Starlette(routes=[Route("/", hello)])
