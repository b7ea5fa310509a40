"""celery with its beat: celery -A stack_celery beat, and … worker."""

import os

import stack_tick
from celery import Celery

app = Celery("stack_celery", broker=os.environ["REDIS_URL"])
app.conf.beat_schedule = {"tick": {"task": "stack_celery.tick", "schedule": 1.0}}


@app.task
def tick() -> None:
    stack_tick.done()
