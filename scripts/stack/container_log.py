"""Writes lines as Docker's json-file driver does: `container_log.py SERVICE FILE`, lines on stdin.

So the collector reads what a native stack prints by the configuration with which it reads containers.
"""

import datetime
import json
import signal
import sys

service, path = sys.argv[1:]
# Ctrl-C is for the program that prints; its last lines are wanted too.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)

with open(path, "a", encoding="utf-8") as file:
    for line in sys.stdin.buffer:
        now = datetime.datetime.now(datetime.timezone.utc)
        entry = {
            "log": line.decode("utf-8", "replace"),
            "stream": "stdout",
            "attrs": {"com.docker.compose.service": service},
            "time": now.strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
        }
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        file.flush()
