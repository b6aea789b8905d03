"""Runs what is measured: benches of crates, programs of peers, and both in turns."""

import json
import os
import statistics
import subprocess
import sys

from house import ROOT

PAIRS = 5  # turns of each side
_short = False


def set_short(short):
    global _short
    _short = short


def short():
    """Whether it is only looked at whether all of it runs."""
    return _short


def pairs():
    return 1 if _short else PAIRS


def crate_bench(package, bench, *arguments, **environment):
    """The JSON lines of a crate's bench; the short form takes what tests were built with."""
    command = ["cargo", "bench", "--quiet", "-p", package, "--bench", bench]
    command += ["--profile", "dev"] if _short else []
    return lines([*command, "--", *arguments, *(["--short"] if _short else [])], environment)


def peer(script, *arguments):
    """The JSON lines of a peer's script."""
    return lines([sys.executable, ROOT / "bench/peers" / script, *map(str, arguments)])


def lines(command, environment={}):
    command = [str(part) for part in command]
    environment = {**os.environ, "CARGO_TERM_COLOR": "never", **environment}
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if told.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.stderr[-4000:]}")
    return [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]


def spread(values):
    """A figure with its spread: the median, the lowest and the highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def turns(sides):
    """What each of several sides told, turn by turn; every other turn in the opposite order."""
    found = []
    for turn in range(pairs()):
        order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        found.append({side: sides[side]() for side in order})
    return found


def beside(pairs):
    """Both sides' figures, and the ratios of the pairs."""
    mine, other = zip(*pairs)
    return {"ours": spread(mine), "theirs": spread(other), "pairs": len(pairs),
            "ours_per_theirs": spread([a / b for a, b in pairs])}


def in_turns(ours, theirs):
    """Both sides' figures in alternating turns, and the ratios of the pairs."""
    found = turns({"ours": ours, "theirs": theirs})
    return beside([(turn["ours"], turn["theirs"]) for turn in found])
