"""Asks HOST PORT by METHODS, several at a time, until TERM; prints its counts as it goes."""

import http.client
import itertools
import json
import signal
import sys
import threading
from collections import Counter

CLIENTS = 6


def ask(ended: threading.Event, counts: Counter[str]) -> None:
    host, port, *methods = sys.argv[1:]
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    for method in itertools.cycle(methods):
        if ended.is_set():
            break
        try:
            connection.request(method, "/")
            answer = connection.getresponse()
            answer.read()
            counts[str(answer.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            counts[repr(error)] += 1
            connection.close()
        ended.wait(0.05)  # the rate is the point: the machine has hosts to run
        # Half of them come with a connection of their own for each request.
        if threading.get_native_id() % 2:
            connection.close()
    connection.close()


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    counts: list[Counter[str]] = [Counter() for _ in range(CLIENTS)]
    clients = [threading.Thread(target=ask, args=(ended, each)) for each in counts]
    for client in clients:
        client.start()
    while not ended.wait(0.1):
        print(json.dumps(sum(counts, Counter())), flush=True)
    for client in clients:
        client.join()
    print(json.dumps(sum(counts, Counter())), flush=True)


main()
