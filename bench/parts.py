"""Parts of the path by themselves: sums, streams, the start, what is built."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

import alternate
import rounds
from house import House, binaries


def fold():
    """Aggregation of 8 updates of 10 M numbers, beside reading them."""
    return alternate.crate_bench("aggregation", "fold")


def fold_peers():
    """The same in Flower and PyTorch."""
    return alternate.peer("aggregate.py")


def digest():
    """Digests of a model's bytes beside reading them."""
    return alternate.crate_bench("federation", "digest")


def stream():
    """A stream of bodies beside its bare carrier."""
    return alternate.crate_bench("proto", "stream")


def start():
    """From the command to a house that answers, and from a submission to the first batch."""
    ready, first = [], []
    for _ in range(alternate.pairs()):
        begun = time.perf_counter()
        with House("embedded", 2) as house:
            ready.append(time.perf_counter() - begun)
            first.append(rounds.first_batch(house))
    return {"ready_seconds": alternate.spread(ready), "first_batch_seconds": alternate.spread(first)}


def sizes():
    """Bytes of the binaries, with their line tables and without."""
    found = {}
    for path in sorted(binaries().glob("pangea*")):
        if path.suffix or not path.is_file():
            continue
        with tempfile.TemporaryDirectory() as folder:
            bare = Path(folder) / path.name
            subprocess.run(["strip", "-o", bare, path], check=True)
            found[path.name] = {"bytes": path.stat().st_size, "stripped": bare.stat().st_size}
    return found


if __name__ == "__main__":
    print(json.dumps(start()))
