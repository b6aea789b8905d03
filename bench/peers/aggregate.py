"""The weighted mean of 8 updates of 10 million f32, in gigabytes of updates a second, as JSON lines.

    aggregate.py [--updates N] [--parameters N] [--turns N]

Flower's `aggregate`, its `aggregate_inplace` (what its FedAvg calls; decoding the messages included,
as it includes that), and a sum in place in PyTorch with one and two threads. Medians of turns that
alternate.
"""

import argparse
import json
import statistics
import time

import environment

LAYERS = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=7)
    return parser.parse_args()


def ways(updates, weights):
    """What is measured, by name: each yields the mean's first array."""
    import torch
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
    from flwr.server.strategy.aggregate import aggregate, aggregate_inplace

    received = [
        (None, FitRes(Status(Code.OK, ""), ndarrays_to_parameters(update), weight, {}))
        for update, weight in zip(updates, weights)
    ]
    tensors = [[torch.from_numpy(layer) for layer in update] for update in updates]
    total = sum(weights)

    def torch_mean(threads):
        torch.set_num_threads(threads)
        means = []
        # Layer by layer, so that the sum stays in the cache.
        for first, *others in zip(*tensors):
            mean = first * (weights[0] / total)
            for layer, weight in zip(others, weights[1:]):
                mean.add_(layer, alpha=weight / total)
            means.append(mean)
        return means[0].numpy()

    return {
        "flower aggregate": lambda: aggregate(list(zip(updates, weights)))[0],
        "flower aggregate_inplace": lambda: aggregate_inplace(received)[0],
        "pytorch in place, 1 thread": lambda: torch_mean(1),
        "pytorch in place, 2 threads": lambda: torch_mean(2),
    }


def main():
    given = arguments()
    environment.enter()
    import flwr
    import numpy as np
    import torch

    chance = np.random.default_rng(1)
    updates = [
        [chance.standard_normal(given.parameters // LAYERS, np.float32) for _ in range(LAYERS)]
        for _ in range(given.updates)
    ]
    weights = [100 + number for number in range(given.updates)]
    measured = ways(updates, weights)
    speeds = {name: [] for name in measured}
    size = sum(layer.nbytes for update in updates for layer in update)
    expected = sum(update[0][:100].astype(np.float64) * weight for update, weight in zip(updates, weights)) / sum(weights)
    for turn in range(given.turns + 1):
        for name, way in measured.items():
            start = time.perf_counter()
            mean = way()
            passed = time.perf_counter() - start
            if not np.allclose(mean[:100], expected, atol=1e-5):
                raise SystemExit(f"aggregate: {name} does not yield the mean")
            if turn:
                speeds[name].append(size / passed / 1e9)
    for name, values in speeds.items():
        print(json.dumps({
            "peer": f"flower {flwr.__version__}" if name.startswith("flower") else f"pytorch {torch.__version__}",
            "what": name,
            "updates": given.updates,
            "parameters": given.parameters,
            "gigabytes_per_second": round(statistics.median(values), 2),
            "slowest": round(min(values), 2),
            "fastest": round(max(values), 2),
            "turns": given.turns,
        }))


if __name__ == "__main__":
    main()
