"""Real faults, each with the alerts that must come of it, and how it is mended."""

import base64
import contextlib
import subprocess
import time

from parts import act, addresses, say, until
from told import ever_fired, firing
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
def job_that_diverges():
    ended(submit("diverges", 6, 3, learning_rate="1.0e30"), "failed")
    yield


@contextlib.contextmanager
def bad_calls():
    """Bytes that are not what their digest says, sent to compute-core until somebody hears of it."""
    address = addresses()["compute-core:50053"][0]
    header = '{"header": {"digest": "blake3:%s", "length_bytes": 4, "tensors": ' \
        '[{"name": "a", "dtype": "DTYPE_F32", "shape": [1]}]}}' % ("0" * 64)
    data = '{"data": "%s"}' % base64.b64encode(bytes(4)).decode()
    call = ["grpcurl", "-plaintext", "-d", header + data, address, "pangea.v1.Compute/Put"]
    for _ in range(20):
        subprocess.run(call, capture_output=True, timeout=30)
    yield


FAULTS = [
    ("a worker was killed", lambda: killed("training-worker-3"), {"WorkerDown", "AgentNetworkPartition"}),
    ("compute-core was stopped", lambda: stopped("compute-core"), {"AIServiceDown"}),
    ("the database was stopped", lambda: stopped("postgres"), {"PostgresDown"}),
    ("queue and artifacts were stopped", lambda: stopped("localstack"), {"RunStalled", "ArtifactStoreErrors"}),
    ("a job diverged", job_that_diverges, {"TrainingDiverges", "RunFailed", "TasksFailing"}),
    ("bad calls came", bad_calls, {"ComputeFailing"}),
]


def make(what, fault, wanted):
    """Makes a fault, waits for what must be told of it, and mends it."""
    before, begun = firing(), time.monotonic()
    with fault():
        until(f"{what}: the webhook hears of {sorted(wanted)}; it has heard of {sorted(ever_fired())}",
              FIRES_SECONDS, lambda: wanted <= firing())
        seconds = time.monotonic() - begun
    also = sorted(firing() - wanted - before)
    say(f"{what}: {', '.join(sorted(wanted))} after {seconds:.0f} s"
        + (f"; also {', '.join(also)}" if also else ""))
