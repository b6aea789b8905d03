"""Whether what watches the services sees them; reads its answer from standard input.

    seen.py targets SERVICES    Prometheus: what runs is up, and what was left out is not
    seen.py services            Jaeger, Loki: each of ours is known by name

Says in one line what it sees; the status is 1 when that is not enough.
"""

import json
import pathlib
import sys

answer = json.load(sys.stdin)
if sys.argv[1] == "targets":
    rows = [line.split() for line in pathlib.Path(sys.argv[2]).read_text().splitlines()]
    left_out = {service for service, image in rows if image == "out"}
    faults = []
    up = 0
    for target in answer["data"]["activeTargets"]:
        instance = target["labels"]["instance"]
        up += target["health"] == "up"
        if (target["health"] == "up") == (instance.partition(":")[0] in left_out):
            faults.append(f"{instance} is {target['health']} {target['lastError']}")
    print("; ".join(faults) or f"{up} targets are up, all but those of {', '.join(sorted(left_out)) or 'none'}")
    sys.exit(bool(faults or not up))

ours = sorted(name for name in answer.get("data") or [] if name.startswith("pangea"))
print(", ".join(ours))
sys.exit(len(ours) < 3)
