"""What docs/benchmarks.md says around its tables."""

HEAD = """\
# Beside the peers, measured

`scripts/bench peers` measures this layout and its alternatives on one machine, in turns, and writes
this page. Compare ratios, not numbers: those of your machine differ. Only the machinery is measured
here. If tasks take long, or need the processor, all queues are equally fast.
"""

QUEUE = """\
## The queue

![No-op items a second](benchmarks-noop.svg)
![1 ms items a second](benchmarks-nap.svg)
![Milliseconds from push to task](benchmarks-latency.svg)

{table}

{machine}

How it was measured:

- One Redis server on the same machine, with its append-only file on, empty before each round. All
  take turns, {rounds} rounds each; the table has medians, with the lowest and the highest.
- *default* is the worker as its documentation starts it. The other row of a library is the quickest
  that we found in its documentation for short items on two cores. If you know a better one: all
  settings are in `instruments/bench/peers/contenders.py` and the modules `theirs/on_*.py`.
- *no-op* and *1 ms items*: all are queued before the worker starts; the rate is that of the middle
  four fifths. Libraries with coroutines `await asyncio.sleep(0.001)`; rq, celery, dramatiq and huey
  run plain functions, which call `time.sleep(0.001)`. All run the same task, which leaves a mark.
- *enqueued*: one producer pushes one item after the other in the library's way, and waits for each.
- *push to task*: the worker is idle, and an item comes 25 times a second on average, at random
  times; {late} items of all rounds. The libraries' modules, clients and loops are their own.
- *killed with an item*: what the settings in the row promise for an item in hand when its worker
  gets kill -9. *At most once* means that it can be lost.

### What a kill -9 does

A worker has one item in hand. It is killed with all its processes, and a new one starts at once.
The table says how long it took until the item was done, where that was within {patience} s. *Not
seen* means later, or never: the last column says which.

{kills}
"""

WHY = """\
## Why not saq, celery or arq?

Often you should. They do what this layout does not:

- **results**: the caller gets what the task returned; here a task stores its result itself;
- **chains, groups, chords**: a task starts after others (celery, taskiq, dramatiq, streaq);
- **priorities** within a queue (celery, dramatiq, streaq, saq, huey); here there are several lists;
- **abort** of an item that runs (arq, saq, streaq, celery), **rate limits** (celery, dramatiq);
- **other brokers and stores**: RabbitMQ, SQS, NATS, PostgreSQL, SQLite (celery, dramatiq, taskiq,
  saq, huey);
- **dashboards** with years of use, such as Flower and rq-dashboard;
- **many kinds of task by name and arguments**, pickled or as JSON; here an item is bytes, and one
  function says what to do with it;
- a large community, and plug-ins for Django, Flask and FastAPI.

What this layout does and they do not, or only when set to:

- any program in any language feeds the worker by a plain `LPUSH`;
- an item in hand is safe by default, and is done again seconds after a kill -9, not minutes or an
  hour later; an item that kills its workers ends on the dead list ([guarantees](guarantees.md));
- app, beat, worker and Redis run and stop together under one supervisor, with
  [what users see of each fault](faults.md) measured.

{summary}

Take celery where you need its canvas or its brokers; saq, streaq or arq for results and aborts in
asyncio; rq or huey where simple code for few items is worth most. Take this layout where items are
many and short, must not be lost, and come from anywhere.
"""

APP = """\
## The app

![Requests a second](benchmarks-app.svg)

{table}

Requests a second of `Hello, world!` by Starlette, `{wrk}`, {rounds} rounds in turns: medians, with
the lowest and the highest. Each is started as its documentation says for production. uvicorn also
has a row without its access log, since ours and granian write none by default. The servers share
the two cores with wrk, which sends the requests.

{machine}
"""
