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
![Milliseconds from push to task, idle](benchmarks-latency.svg)
![Milliseconds from push to task, at half load](benchmarks-load.svg)

{table}

{machine}

How it was measured:

- One Redis server on the same machine, with its append-only file on, empty before each round. All
  take turns, {rounds} rounds each; the table has medians, with the lowest and the highest.
- *default* is the worker as its documentation starts it. The other row of a library is the quickest
  that we found in its documentation for short items on two cores. If you know a better one: all
  settings are in `instruments/bench/peers/contenders.py` and the modules `theirs/on_*.py`. Pools of
  greenlets, which celery, dramatiq and huey can have, are not measured.
- *the article's loop* is the common recipe that this layout grew from: `BRPOP`, work, and again.
- *no-op* and *1 ms items*: all are queued before the worker starts; the rate is that of the middle
  four fifths. Libraries with coroutines `await asyncio.sleep(0.001)`; rq, celery, dramatiq and huey
  run plain functions, which call `time.sleep(0.001)`. All run the same task, which leaves a mark.
- *enqueued*: one producer pushes one item after the other in the library's way, and waits for each.
  Coroutines run on uvloop, as they do under uvicorn. Ours pushes by `Producer` in the first row,
  and by `SyncProducer` in the second.
- *idle*: the worker is idle, and an item comes 25 times a second on average, at random times;
  {late} items of all rounds. The time is from the call that pushes to the first line of the task.
  The producer is connected already.
- *half load*: one producer pushes 1 ms items at random times, at half of the most that this queue
  bears: half of the row's own 1 ms items/s or of its enqueued/s, whichever is less, in the same
  round. A rate that is the same for all would leave the quick ones idle, or drown the slow ones.
  The rate that was reached stands beside the times, which are medians of the rounds.
- *killed with an item*: what the settings in the row promise for an item in hand when its worker
  gets kill -9. *At most once* means that it can be lost.

### What a kill -9 does

A worker has one item in hand. It is killed with all its processes, and a new one starts at once.
The table says how long it took until the item was done, where that was within {patience} s. *Not
seen* comes later: the last column says when. *Lost* never comes.

{kills}
"""

WHY = """\
## Why not saq, celery or arq?

Often you should. They do what this layout does not:

- **results**: the caller gets what the task returned; here a task stores its result itself;
- **chains, groups, chords**: a task starts after others (celery, dramatiq, streaq, huey; rq by
  `depends_on`; taskiq by a plug-in);
- **priorities** within a queue (celery, dramatiq, streaq, huey; saq on PostgreSQL); here there are
  several lists;
- **abort** of an item that runs (arq, saq, streaq, celery, rq), **rate limits** (celery, dramatiq,
  huey, rq);
- **retries and time-outs for each task or push**; here each queue has one of both;
- **other brokers and stores**: RabbitMQ, SQS, NATS, PostgreSQL, SQLite (celery, dramatiq, taskiq,
  saq, huey);
- **tests without a server**: eager, immediate, in-memory or stub brokers (celery, huey, rq, taskiq,
  dramatiq);
- **hooks around each task**: signals and middleware (celery, dramatiq, taskiq, streaq, huey);
- **dashboards** with years of use, such as Flower and rq-dashboard;
- **many kinds of task by name and arguments**, pickled or as JSON; here an item is bytes, and one
  function says what to do with it;
- a large community, and plug-ins for Django, Flask and FastAPI.

What this layout does and they do not, or only when set to:

- any program in any language feeds the worker by a plain `LPUSH`;
- an item in hand is safe by default, and is done again seconds after a kill -9, not minutes or an
  hour later; an item that kills its workers ends on the dead list ([guarantees](guarantees.md));
- a queue has a limit, and a push raises an error when it is full;
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

`Hello, world!` by Starlette, requested by `{wrk}`, {rounds} rounds in turns: medians, with the
lowest and the highest. Each is started as its documentation says for production. *Ours* is the
shipped `supervisord.conf` with nothing but app started. uvicorn also has a row without its access
log, since ours and granian write none by default. CPU is that of all its processes, also
supervisord's. The servers share the two cores with wrk, which sends the requests. The processes of
a server share its listening socket, and chance decides which of them takes a connection. One may
hold most of those that are kept, so two processes need not be quicker there than one.

`uvicorn --fd 0` takes the socket of supervisord for a Unix socket, and so leaves Nagle's algorithm
on: each answer over a kept connection waits some 40 ms for the client's delayed acknowledgement.
`example-app` listens on the same descriptor without that.

{machine}
"""

TRIED = """\
## What was tried

These are the lowest times of many runs, since only they are the same on a busy machine. Changed:

- A push by `SyncProducer` took 34 us, and takes 25: it keeps its connections itself. redis-py's
  client and pool lock, count and time around each command: its LPUSH takes 30 us.
- A push by `Producer` took 48 us, and takes 41, like the LPUSH of redis-py. hiredis packs the
  request, and sending and receiving share one time-out.
- app loads redis-py with the first /readyz. Before, that was 10 of the 27 MiB of each process.

Without gain:

- **Memory.** redis-py is 10 of the 23 MiB of a beat or worker, and `import redis` loads all of it:
  clusters, sentinels, search. Its modules import each other as they load, so none can be left for
  later. `python -OO` saves 1.5 MiB, but drops the asserts of your tasks. `gc.collect()` with
  `malloc_trim`, malloc's settings, `PYTHONMALLOC=malloc`, and code without columns save 0.2 MiB
  or nothing. Only another client would help.
- **Pushes.** A plain LPUSH in place of the script would not keep QUEUE_LIMIT. Not to
  check whether the connection has ended saves 2.5 us, but the first push after a restart of Redis
  fails then.
- **CPU of a request.** What bounds slow clients, ends event streams and answers /livez and /readyz
  takes 1 us, of 30 us for a small answer. None of the three stands out: each is a call or two, and
  a few comparisons. An event stream is known only by the type of its answer, so each GET is looked
  at.
"""
