"""Seconds of a round: one case, one JSON line.

    python3 bench/rounds.py CASE [--mode embedded|processes] [--rounds N]
"""

import argparse
import json
import random
import statistics
import time

import alternate
from house import ROOT, House

PARAMETERS = {"1m": 960, "10m": 3100, "50m": 7000}  # width of both hidden layers


def job(name, model, clients, rounds, local):
    return f"""name: {name}
model: {model}
dataset:
  name: data
  partition: {{ kind: iid, clients: {clients} }}
local:
  {local}
  optimizer: {{ kind: sgd, learning_rate: 0.05 }}
rounds: {rounds}
seed: 7
"""


def rows(path, features, classes, count):
    """A CSV of random rows."""
    chance = random.Random(7)
    with open(path, "w") as file:
        print(*(f"f{n}" for n in range(features)), "label", sep=",", file=file)
        for row in range(count):
            numbers = (f"{chance.gauss(0, 1):.4f}" for _ in range(features))
            print(*numbers, row % classes, sep=",", file=file)


def plan(case, rounds):
    """What a case trains: workers, clients, rounds, model, how, and its rows."""
    kind, _, size = case.partition("-")
    one_step = "{ kind: mlp, hidden: [%d, %d], activation: relu }"
    match kind:
        case "digits":
            model = "{ kind: mlp, hidden: [128], activation: relu }"
            local = "epochs: 1\n  batch_size: 32"
            return min(int(size), 2), int(size), rounds or 20, model, local, None
        case "null":
            local = "steps: 1\n  batch_size: 1"
            return 10, 10, rounds or 100, "{ kind: softmax_regression }", local, (1, 2, 40)
        case "params":
            width = PARAMETERS[size]
            local = "steps: 1\n  batch_size: 1"
            return 2, 2, rounds or 6, one_step % (width, width), local, (64, 10, 20)
        case "clients":
            local = "steps: 1\n  batch_size: 4"
            count = int(size)
            return 2, count, rounds or 6, "{ kind: softmax_regression }", local, (64, 10, count * 5)
    raise SystemExit(f"case {case!r} is none of digits-2, digits-8, null, params-1m, params-10m, params-50m, clients-2000")


def measure(case, mode, rounds=None, cohort=None, backends=None, watched=None):
    """One run of a case: seconds of its rounds, the first one left out. `watched` is called with the
    house when the run has ended."""
    workers, clients, rounds, model, local, shape = plan(case, rounds)
    clients = cohort or clients
    shape = shape and (*shape[:2], max(shape[2], 3 * clients))
    # Of many small clients, a worker has several in work.
    slots = 128 if case.startswith("clients") else 1
    with House(mode, workers, slots=slots, backends=backends) as house:
        data = ROOT / "examples/digits/digits.csv"
        if shape:
            data = house.path / "rows.csv"
            rows(data, *shape)
        house.pangea("dataset", "import", str(data), "--label", "label", "--name", "data")
        text = house.path / "job.yaml"
        text.write_text(job(case, model, clients, rounds, local))
        [submitted] = house.pangea("submit", str(text))
        run = submitted["run"]["run"]
        committed, last = [], None
        before = {name: house.cpu_seconds(name) for name in house.processes}
        start = time.perf_counter()
        for at, event in house.events(run, left_out="update_accepted"):
            if event["kind"] == "round_committed":
                committed.append(at)
                last = event
            last_event = event
        if last_event.get("state") != "completed":
            raise SystemExit(f"the run of {case} did not complete: {last_event}")
        spent = committed[-1] - start
        took = [b - a for a, b in zip(committed, committed[1:])]
        names = list(house.processes)
        if watched:
            watched(house)
        return {
            "case": case,
            "mode": mode,
            "rounds": len(committed),
            "seconds": statistics.median(took),
            "fastest": min(took),
            "slowest": max(took),
            "accuracy": last["accuracy"],
            "update_bytes": last["update_bytes"],
            "peak_mib": {name: round(house.peak_mib(name)) for name in names},
            "cpu_seconds": {name: round(house.cpu_seconds(name) - before[name], 3) for name in names},
            "total_seconds": round(spent, 3),
        }


def floor():
    """Rounds that compute next to nothing: what a round costs by itself."""
    rounds = 5 if alternate.short() else 200
    modes = {mode: lambda mode=mode: measure("null", mode, rounds) for mode in ("embedded", "processes")}
    turns = alternate.turns(modes)
    return [{"mode": mode, "rounds": rounds,
             "milliseconds": alternate.spread([turn[mode]["seconds"] * 1e3 for turn in turns]),
             "processor_milliseconds": alternate.spread([sum(turn[mode]["cpu_seconds"].values()) / rounds * 1e3
                                                         for turn in turns])}
            for mode in modes]


def memory():
    """The orchestrator's peak memory while rounds of 50 M parameters are aggregated."""
    if alternate.short():
        return []
    found = []
    for clients in (2, 8, 32):
        told = measure("params-50m", "processes", 3, clients)
        found.append({"clients": clients, "peak_mib": told["peak_mib"]["orchestrator"],
                      "model_mib": round(told["update_bytes"] / clients / 2**20)})
    return found


def peers():
    """Beside Flower's fastest mode, and its simulation where that is meant for it."""
    return beside_flower([("grpc", "digits-2"), ("grpc", "digits-8"), ("grpc", "params-1m"),
                          ("grpc", "params-10m"), ("simulation", "clients-2000")])


def peers_large():
    """The same with a model that takes Flower seconds."""
    return beside_flower([("grpc", "params-50m")])


def peers_deployed():
    """Beside Flower as it is deployed."""
    return beside_flower([("deployed", "digits-2")])


def beside_flower(cases):
    for mode, case in cases:
        turns = alternate.in_turns(
            lambda: measure(case, "processes")["seconds"],
            lambda: alternate.peer("flower_rounds.py", mode, case)[0]["seconds_per_round"],
        )
        yield {"mode": mode, "case": case, **turns}


def first_batch(house):
    """Seconds from the submission of a job to the verdict on an update of one batch."""
    data = ROOT / "examples/digits/digits.csv"
    house.pangea("dataset", "import", str(data), "--label", "label", "--name", "data")
    text = house.path / "job.yaml"
    _, clients, _, model, _, _ = plan("digits-2", 1)
    text.write_text(job("first", model, clients, 1, "steps: 1\n  batch_size: 32"))
    [submitted] = house.pangea("submit", str(text))
    run = submitted["run"]["run"]
    events = [event for _, event in house.events(run)]
    begun = next(event["time_ms"] for event in events if event["kind"] == "run_state_changed")
    first = next(event["time_ms"] for event in events if event["kind"] == "update_accepted")
    return (first - begun) / 1000


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case")
    arguments.add_argument("--mode", choices=["embedded", "processes"], default="processes")
    arguments.add_argument("--rounds", type=int)
    given = arguments.parse_args()
    print(json.dumps(measure(given.case, given.mode, given.rounds)))
