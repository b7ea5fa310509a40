"""celery: celery -A on_celery worker; acknowledges late with LATE set."""

import os

import tasks
from celery import Celery

app = Celery("on_celery", broker=os.environ["REDIS_URL"])
app.conf.task_acks_late = "LATE" in os.environ
if "BEST" in os.environ:
    app.conf.task_ignore_result = True
    app.conf.worker_disable_rate_limits = True


@app.task
def work(item: str) -> None:
    tasks.work_sync(item)


def push(item: str) -> None:
    work.delay(item)
