"""Yours: the Web API. Any ASGI application named `app` will do."""

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from .runtime import health
from .runtime.link import connect
from .settings import Settings


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
    async with connect(Settings.load().redis_url) as redis:
        yield {"redis": redis}


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


async def livez(request: Request) -> PlainTextResponse:
    return health.live()


async def readyz(request: Request) -> PlainTextResponse:
    return await health.ready(request.state.redis)


app = Starlette(
    routes=[Route("/", hello), Route("/livez", livez), Route("/readyz", readyz)],
    lifespan=lifespan,
)
