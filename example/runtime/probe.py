"""example-health: the health of everything that this machine's supervisord runs.

For a container's HEALTHCHECK, or a monitor. It asks supervisord on its control socket, and app
by HTTP; Redis has no part in it, so that its absence restarts nothing.
"""

import http.client
from collections.abc import Iterator
from typing import Any

from supervisor.options import ClientOptions
from supervisor.states import ProcessStates

SECONDS = 2.0
GOOD = (
    ProcessStates.RUNNING,
    ProcessStates.STARTING,
    # By hand, or at the end.
    ProcessStates.STOPPED,
    ProcessStates.STOPPING,
)


def faults(port: int) -> Iterator[str]:
    """A line for each thing that is wrong; none when all is well.

    The programs are those in the supervisord.conf that supervisorctl would find. Where app runs,
    it must answer /livez on `port`.
    """
    try:
        processes = _processes()
    except OSError as error:
        yield f"supervisord does not answer: {error}"
        return
    for each in processes:
        ended_well = each["state"] == ProcessStates.EXITED and each["exitstatus"] == 0
        if each["state"] not in GOOD and not ended_well:
            yield f"{each['name']} is {each['statename']}: {each['description']}"
    app_runs = any(
        each["group"] == "app" and each["state"] == ProcessStates.RUNNING for each in processes
    )
    if app_runs and not _app_lives(port):
        yield f"app does not answer at http://127.0.0.1:{port}/livez"


def _processes() -> list[dict[str, Any]]:
    options = ClientOptions()
    options.realize([])
    processes: list[dict[str, Any]] = options.getServerProxy().supervisor.getAllProcessInfo()
    return processes


def _app_lives(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
