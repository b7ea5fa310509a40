"""A program that starts others: each when the one before has ended, and ended well."""

import os
import sys
import time

from supervisor import childutils

supervisor = childutils.getRPCInterface(os.environ).supervisor
for step in sys.argv[1:]:
    supervisor.startProcess(step)
    while (info := supervisor.getProcessInfo(step))["statename"] != "EXITED":
        time.sleep(0.1)
    if info["exitstatus"]:
        sys.exit(f"{step} ended with {info['exitstatus']}")
