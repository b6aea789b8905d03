"""Measures Pangea beside the machine's limits, and with --peers beside PyTorch and Flower.

Writes docs/benchmarks.json and docs/benchmarks.md; in the short form, which looks only whether all
of it runs, to a folder that is thrown away.

    python3 bench/run.py [--peers] [--short] [--only WORD]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import alternate
import backends
import engine
import page
import parts
import rounds
from house import ROOT

# What is measured, in the order of the page: the module that does it, and whether it needs peers.
MEASURES = [(engine.limits, False), (engine.native, False), (parts.fold, False), (parts.digest, False), (parts.stream, False), (parts.start, False),
            (parts.sizes, False), (rounds.floor, False), (rounds.memory, False), (backends.localstack, False),
            (engine.peers, True), (rounds.peers, True), (rounds.peers_large, True), (rounds.peers_deployed, True),
            (parts.fold_peers, True)]


def where():
    """What is measured, and on what: the measures of one page may differ, and no figure carries over."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"commit": asked.stdout.strip(), "processor": model, "cores": os.cpu_count(), "memory_gib": round(gib),
            "kernel": platform.release().split("-")[0]}


def so_far(told):
    """What a measure found; after each line, where it takes long and gives them one by one."""
    if not isinstance(told, types.GeneratorType):
        yield told
        return
    lines = []
    for line in told:
        lines.append(line)
        yield lines


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--peers", action="store_true", help="beside PyTorch and Flower too")
    arguments.add_argument("--short", action="store_true", help="look only whether it runs")
    arguments.add_argument("--only", default="", help="the measures whose names contain this")
    given = arguments.parse_args()
    alternate.set_short(given.short)
    kept = ROOT / "docs/benchmarks.json"
    found = json.loads(kept.read_text()) if kept.exists() and not given.short else {"measures": {}, "where": {}}
    for measure, needs_peers in MEASURES:
        name = f"{measure.__module__}.{measure.__name__}"
        if given.only in name and (given.peers or not needs_peers):
            print(f"bench: {name}", file=sys.stderr, flush=True)
            for told in so_far(measure()):
                found["measures"][name] = told
                found["where"][name] = where()
                if not given.short:
                    kept.write_text(json.dumps(found, indent=1) + "\n")
                    page.write(found, ROOT / "docs/benchmarks.md")
    if given.short:
        with tempfile.TemporaryDirectory() as folder:
            page.write(found, Path(folder) / "benchmarks.md")
        print(json.dumps(found["measures"]))


if __name__ == "__main__":
    main()
