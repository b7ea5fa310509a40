"""A program that starts others: each when the one before has ended, and ended well."""

import os
import sys
import time

from supervisor import childutils

supervisor = childutils.getRPCInterface(os.environ).supervisor
for step in sys.argv[1:]:
    supervisor.startProcessGroup(step, False)
    while (info := supervisor.getProcessInfo(step))["statename"] in ("STARTING", "RUNNING"):
        time.sleep(0.1)
    if info["statename"] != "EXITED" or info["exitstatus"]:
        sys.exit(f"{step}: {info['statename']} with {info['exitstatus']}")
