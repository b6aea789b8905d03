"""A round through LocalStack's S3 and SQS beside one on the disk alone, and where its time goes.

    scripts/with-backends.sh python3 bench/backends.py [--short]
"""

import json
import os
import re
import sys
import uuid

import alternate
import rounds
from house import ROOT

CASES = ["digits-2", "params-10m"]


def localstack():
    """JSON lines of this file, with a LocalStack beside it that is gone afterwards."""
    short = ["--short"] if alternate.short() else []
    script = ROOT / "scripts/with-backends.sh"
    return alternate.lines([script, sys.executable, ROOT / "bench/backends.py", *short])


def settings(endpoint):
    """What tells an orchestrator of a bucket and a queue of its own."""
    name = f"bench-{uuid.uuid4()}"
    return {"ARTIFACTS__BUCKET": name, "ARTIFACTS__PATH_STYLE": "true", "ARTIFACTS__CREATE": "true",
            "QUEUE__NAME": name, "QUEUE__CREATE": "true", "AWS__ENDPOINT": endpoint,
            "AWS__REGION": "eu-west-2", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def parts(series, count):
    """Seconds of each part of a round, and of the requests to S3, which go on beside them."""
    found = {}
    for name, value in series.items():
        phase = re.match(r'federated_round_duration_seconds_sum{phase="(\w+)"', name)
        if phase:
            found[phase[1]] = value / count
    of_s3 = [name for name in series if 'store="s3"' in name]
    found["s3_seconds"] = sum(series[name] for name in of_s3
                              if name.startswith("artifact_store_duration_seconds_sum")) / count
    found["s3_requests"] = sum(series[name] for name in of_s3
                               if name.startswith("artifact_store_requests_total")) / count
    waits = [series.get(f"training_queue_wait_seconds_{part}", 0) for part in ("sum", "count")]
    found["queue_wait"] = waits[0] / max(waits[1], 1)
    return found


def measured(case, endpoint):
    count = 2 if alternate.short() else None
    told = {}

    def watched(house):
        told.update(house.metrics("orchestrator"))

    there = rounds.measure(case, "processes", count, backends=settings(endpoint), watched=watched)
    return {"seconds": there["seconds"], **parts(told, there["rounds"])}


def main():
    alternate.set_short("--short" in sys.argv)
    endpoint = os.environ.get("PANGEA_TEST_AWS_ENDPOINT")
    if not endpoint:
        if os.environ.get("REQUIRE_TOOLS"):
            raise SystemExit("LocalStack is not there; `make tools` sets it up")
        print("bench: LocalStack is not there, and is not measured", file=sys.stderr)
        return
    count = 2 if alternate.short() else None
    for case in CASES[:1] if alternate.short() else CASES:
        turns = [(rounds.measure(case, "processes", count)["seconds"], measured(case, endpoint))
                 for _ in range(alternate.pairs())]
        alone, there = zip(*turns)
        shares = {name: alternate.spread([told[name] for told in there])["median"] for name in there[0]}
        print(json.dumps({"case": case, "alone": alternate.spread(alone), "parts": shares,
                          "localstack": alternate.spread([told["seconds"] for told in there])}))


if __name__ == "__main__":
    main()
