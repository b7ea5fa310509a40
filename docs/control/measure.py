"""Scaling by your own measure: one worker more for every ten files in a folder."""

import os
import sys
import time

from supervisor import childutils

rpc = childutils.getRPCInterface(os.environ)
before = None
while True:
    wanted = min(8, 1 + len(os.listdir(sys.argv[1])) // 10)
    if wanted != before:
        rpc.supervision.scale("worker", wanted)
    before = wanted
    time.sleep(1)
