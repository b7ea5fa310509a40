"""Scaling by your own signal: USR1 is one worker more, USR2 is one less."""

import os
import signal

from supervisor import childutils

rpc = childutils.getRPCInterface(os.environ)
more, less = signal.SIGUSR1, signal.SIGUSR2
signal.pthread_sigmask(signal.SIG_BLOCK, {more, less})
while True:
    step = 1 if signal.sigwait({more, less}) == more else -1
    now = sum(row["group"] == "worker" for row in rpc.supervisor.getAllProcessInfo())
    rpc.supervision.scale("worker", max(1, now + step))
