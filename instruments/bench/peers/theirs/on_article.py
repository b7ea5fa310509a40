"""The article's loop: BRPOP, work, and again."""

import asyncio
import os

import redis.asyncio

client = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])


async def push(item: str) -> None:
    await client.lpush("TESTING", item)


async def many(items: list[str]) -> None:
    await client.lpush("TESTING", *items)


async def main() -> None:
    import tasks

    while True:
        _, item = await client.brpop(["TESTING"])
        await tasks.work(item.decode())


if __name__ == "__main__":
    asyncio.run(main())
