"""From a number to its trace, and from the trace to its lines."""

import os
import time

from parts import PROMETHEUS, act, check, get, runs, say, until

# From submission to publication, each by the service that does it.
STEPS = {
    "pangea-orchestrator": {"pangea.v1.Jobs/Submit", "submit", "round", "dispatch", "accept update",
                            "aggregate", "evaluate", "checkpoint", "publish"},
    "pangea-training-worker": {"task", "fetch", "train", "report"},
    "pangea-compute-core": {"pangea.v1.Compute/Train", "training", "training_step", "pangea.v1.Compute/Evaluate"},
}
CALLS = {("pangea-orchestrator", "pangea-training-worker"), ("pangea-orchestrator", "pangea-compute-core"),
         ("pangea-training-worker", "pangea-compute-core"), ("pangea-training-worker", "pangea-orchestrator")}
ARRIVAL_SECONDS = 60  # spans wait for five seconds in a service, and for one in the collector
JAEGER = os.environ["JAEGER_URL"]
LOKI = os.environ["LOKI_URL"]


def exemplars():
    """Trace ids of exemplars on submissions."""
    found = get(f"{PROMETHEUS}/api/v1/query_exemplars",
                query='rpc_request_duration_seconds_bucket{method="Submit"}',
                start=time.time() - 3600, end=time.time())["data"]
    return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}


def steps_of(trace):
    """Names of a trace's spans, by service."""
    data = get(f"{JAEGER}/api/traces/{trace}")["data"][0]
    names = {key: process["serviceName"] for key, process in data["processes"].items()}
    steps = {}
    for span in data["spans"]:
        steps.setdefault(names[span["processID"]], set()).add(span["operationName"])
    return steps, len(data["spans"])


def whole_trace():
    """A trace that an exemplar leads to and that has all steps of a run."""
    missing = {}
    for trace in exemplars():
        steps, spans = steps_of(trace)
        missing = {name: wanted - steps.get(name, set()) for name, wanted in STEPS.items()}
        if not any(missing.values()):
            return trace, spans
    check(False, f"missing: {missing}")


def calls():
    end = int(time.time() * 1000)
    data = get(f"{JAEGER}/api/dependencies", endTs=end, lookback=3_600_000)["data"]
    return {(call["parent"], call["child"]) for call in data}


def lines(trace):
    """Services that printed a line in the trace."""
    found = get(f"{LOKI}/loki/api/v1/query_range", limit=1000,
                query=f'{{service_name=~"pangea-.+"}} | trace_id="{trace}"')["data"]["result"]
    return {stream["stream"]["service_name"] for stream in found}


def trace_leads_through_all():
    trace, spans = until("an exemplar's trace leads from submission to publication", ARRIVAL_SECONDS, whole_trace)
    say(f"an exemplar leads to trace {trace}: {spans} spans of {len(STEPS)} services, from submission to publication")
    until(f"Jaeger knows that {sorted(CALLS)}", ARRIVAL_SECONDS, lambda: CALLS <= calls())
    say("Jaeger knows who calls whom")
    if not runs("loki"):
        say("Loki is left out, and lines with it")
        return trace, spans
    found = until("Loki has lines of the trace", ARRIVAL_SECONDS,
                  lambda: {"pangea-orchestrator", "pangea-training-worker"} <= lines(trace) and lines(trace))
    say(f"Loki has its lines, of {', '.join(sorted(found))}")
    return trace, spans


def traces_outlast_a_restart(trace, spans):
    act("stop", "jaeger")
    act("start", "jaeger")
    until("Jaeger has the trace after a restart", ARRIVAL_SECONDS, lambda: steps_of(trace)[1] >= spans)
    say(f"Jaeger has trace {trace} after a restart")
