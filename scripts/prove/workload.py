"""Jobs that train, and what people do with runs and models, so that there is something to see."""

import pathlib
import re

from parts import check, pangea, until
from told import FOLDER

DIGITS = pathlib.Path("examples/digits/digits.csv")
MODEL_SECONDS = 300  # twelve rounds take a quarter of a minute on two idle cores


def job(name, seed, rounds, **replaced):
    """A copy of the digits' job under another name; `replaced` gives other lines, by their key."""
    text = pathlib.Path("examples/digits/job.yaml").read_text()
    for key, value in {"seed": seed, "rounds": rounds, "publish_as": name, **replaced}.items():
        text, count = re.subn(rf"^( *){key}: .*$", rf"\g<1>{key}: {value}", text, flags=re.M)
        check(count == 1, f"examples/digits/job.yaml has no line for {key}")
    path = FOLDER / f"{name}.yaml"
    path.write_text(text)
    return path


def submit(*arguments, **replaced):
    """Starts a run and returns its id."""
    return pangea("submit", job(*arguments, **replaced))["run"]["run"]


def shown(run):
    return pangea("run", run)


def ended(run, state="completed", seconds=MODEL_SECONDS):
    """Waits until the run has ended, which must be as `state`."""
    over = until(f"run {run} ends", seconds, lambda: has_ended(shown(run)))
    check(over["state"] == state, f"run {run} is {over['state']}: {over['reason']}")
    return over


def has_ended(run):
    return run if run["state"] in ("completed", "failed", "cancelled") else None


def one_job():
    """Trains as the profile `demo` does, one job and no end; returns its run, which goes on."""
    pangea("dataset", "import", DIGITS, "--label", "label", "--seed", 7)
    run = submit("long", 4, 100_000)
    until("the first rounds are committed", MODEL_SECONDS, lambda: shown(run)["rounds_committed"] > 2)
    return run


def several_jobs():
    """Trains three models at once, beside what is trained already; holds, ends and repeats runs, uses a
    model, and returns the three runs."""
    held = submit("held", 5, 100_000)
    pangea("pause", held)
    # Last, so that exemplars on submissions lead to runs that come to an end.
    runs = [submit(f"digits-{seed}", seed, 12) for seed in (1, 2, 3)]
    for run in runs:
        ended(run)
    pangea("resume", held)
    pangea("cancel", held)
    replayed = pangea("replay", runs[0], 12)
    check(replayed["equal"], f"round 12 of {runs[0]}, made again, is another model: {replayed}")
    pangea("gc", "--remove", "--older-than", "0s")
    pangea("evaluate", "digits-1", DIGITS)
    pangea("predict", "digits-1", DIGITS)
    return runs
