"""Real faults, each with the alerts that must come of it, and how it is mended."""

import base64
import contextlib
import json
import os
import subprocess
import time

from parts import act, addresses, check, get, in_localstack, objects, pangea, say, until
from told import FOLDER, fired
from workload import ended, submit

FIRES_SECONDS = 180     # bounds, not measurements: the slowest took a third of this on two busy cores
RESOLVES_SECONDS = 300  # windows of a quarter of an hour are a minute long here


@contextlib.contextmanager
def killed(part):
    act("kill", part)
    yield
    act("start", part)


@contextlib.contextmanager
def stopped(part):
    act("stop", part)
    yield
    act("start", part)


@contextlib.contextmanager
def without_queue_and_artifacts():
    """LocalStack keeps everything in memory, so what it had is put back, and the job that was
    submitted meanwhile is ended first: it would look for its data set too early."""
    copy = FOLDER / "objects"
    objects("out", copy)
    act("stop", "localstack")
    run = submit("meanwhile", 6, 3)
    yield
    pangea("cancel", run)
    act("start", "localstack")
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_localstack/health"
    until("LocalStack answers again", 120, lambda: get(url))
    in_localstack("infra/localstack/init.py")
    objects("in", copy)


@contextlib.contextmanager
def job_that_diverges():
    ended(submit("diverges", 7, 3, learning_rate="1.0e30"), "failed")
    yield


@contextlib.contextmanager
def bad_calls():
    """Bytes that are not what their digest says, sent to compute-core."""
    address = addresses()["compute-core:50053"][0]
    header = {"digest": "blake3:" + "0" * 64, "length_bytes": 4,
              "tensors": [{"name": "a", "dtype": "DTYPE_F32", "shape": [1]}]}
    parts = [{"header": header}, {"data": base64.b64encode(bytes(4)).decode()}]
    call = ["grpcurl", "-plaintext", "-d", "".join(map(json.dumps, parts)), address, "pangea.v1.Compute/Put"]
    for _ in range(5):
        done = subprocess.run(call, capture_output=True, text=True, timeout=30)
        check("DIGEST_MISMATCH" in done.stderr, f"compute-core took bytes that it should refuse: {done}")
    yield


# While a run is in work, which must survive them.
AROUND_A_RUN = [
    ("a worker was killed", lambda: killed("training-worker-3"), {"WorkerDown", "AgentNetworkPartition"}),
    ("compute-core was stopped", lambda: stopped("compute-core"), {"AIServiceDown"}),
    ("the database was stopped", lambda: stopped("postgres"), {"PostgresDown"}),
]
ALONE = [
    ("a job diverged", job_that_diverges, {"TrainingDiverges", "RunFailed"}),
    ("bad calls came", bad_calls, {"ComputeFailing"}),
    ("queue and artifacts were stopped", without_queue_and_artifacts, {"RunStalled", "ArtifactStoreErrors", "QueueErrors"}),
]


def make(what, fault, wanted):
    """Makes a fault, waits for what must be told of it, and mends it."""
    begun = time.time()
    with fault():
        until(f"{what}: {sorted(wanted)} at the webhook", FIRES_SECONDS, lambda: wanted <= fired(begun))
        seconds = time.time() - begun
    also = sorted(fired(begun) - wanted)
    say(f"{what}: {', '.join(sorted(wanted))} after {seconds:.0f} s"
        + (f"; also {', '.join(also)}" if also else ""))
