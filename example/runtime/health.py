"""What balancers and orchestrators ask of app: is it alive, and can it do its work?"""

import asyncio

from starlette.responses import PlainTextResponse

from .link import ERRORS, connect, locate

READY_SECONDS = 1.0


def live() -> PlainTextResponse:
    """200: this process serves. Redis has no part in it: to restart app would not bring it back."""
    return PlainTextResponse("ok")


async def ready(url: str, key: str) -> PlainTextResponse:
    """200 if the Redis in charge of `key` answers within READY_SECONDS, else 503."""
    try:
        async with asyncio.timeout(READY_SECONDS), connect(await locate(url, key)) as redis:
            await redis.ping()
    except ERRORS:
        return PlainTextResponse("Redis does not answer", status_code=503)
    return PlainTextResponse("ok")
