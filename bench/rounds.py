"""Seconds of a round: one case, one JSON line.

    python3 bench/rounds.py CASE [--mode embedded|processes] [--rounds N]
"""

import argparse
import json
import random
import statistics
import time

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


def measure(case, mode, rounds=None):
    workers, clients, rounds, model, local, shape = plan(case, rounds)
    with House(mode, workers) as house:
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
        for at, event in house.events(run):
            if event["kind"] == "round_committed":
                committed.append(at)
                last = event
            last_event = event
        if last_event.get("state") != "completed":
            raise SystemExit(f"the run of {case} did not complete: {last_event}")
        spent = committed[-1] - start
        took = [b - a for a, b in zip(committed, committed[1:])]
        names = list(house.processes)
        return {
            "case": case,
            "mode": mode,
            "rounds": len(committed),
            "seconds": statistics.median(took),
            "fastest": min(took),
            "slowest": max(took),
            "accuracy": last["accuracy"],
            "peak_mib": {name: round(house.peak_mib(name)) for name in names},
            "cpu_seconds": {name: round(house.cpu_seconds(name) - before[name], 3) for name in names},
            "total_seconds": round(spent, 3),
        }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case")
    arguments.add_argument("--mode", choices=["embedded", "processes"], default="processes")
    arguments.add_argument("--rounds", type=int)
    given = arguments.parse_args()
    print(json.dumps(measure(given.case, given.mode, given.rounds)))
