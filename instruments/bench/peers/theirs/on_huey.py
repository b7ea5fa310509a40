"""huey: huey_consumer on_huey.huey"""

import os

import tasks
from huey import RedisHuey

huey = RedisHuey("peers", url=os.environ["REDIS_URL"], results="BEST" not in os.environ)


@huey.task()
def work(item: str) -> None:
    tasks.work_sync(item)


def push(item: str) -> None:
    work(item)
