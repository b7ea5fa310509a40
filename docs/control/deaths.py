"""Your own event listener: a line in a file for each program that died or was given up."""

import sys

from supervisor import childutils

while True:
    headers, payload = childutils.listener.wait(sys.stdin, sys.stdout)
    event = childutils.get_headers(payload)
    if event.get("expected") != "1":
        with open(sys.argv[1], "a") as file:
            file.write(f"{event['processname']} {headers['eventname']}\n")
    childutils.listener.ok(sys.stdout)
