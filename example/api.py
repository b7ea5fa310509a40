"""Yours: the Web API. Any ASGI application named `app` will do."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from .runtime import health
from .settings import Settings

settings = Settings.load()


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


async def livez(request: Request) -> PlainTextResponse:
    return health.live()


async def readyz(request: Request) -> PlainTextResponse:
    return await health.ready(settings.redis_url, settings.redis_key)


app = Starlette(
    routes=[Route("/", hello), Route("/livez", livez), Route("/readyz", readyz)],
)
