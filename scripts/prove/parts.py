"""The parts of the running native stack: where they are, what they answer, how each is ended."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse
import urllib.request

STACK = pathlib.Path(os.environ["PANGEA_STACK"])
PROMETHEUS = os.environ["PROMETHEUS_URL"]
ALERTMANAGER = os.environ["ALERTMANAGER_URL"]
TOOLS = pathlib.Path(os.environ.get("PANGEA_TOOLS") or pathlib.Path.home() / ".cache/pangea/tools")
BINARIES = pathlib.Path(os.environ["PANGEA_BINARIES"])

WORKERS = ["training-worker-1", "training-worker-2", "training-worker-3"]
BUCKET = "pangea"
OURS = ["orchestrator", "compute-core", *WORKERS]


class Unproven(Exception):
    """What was to be proven does not hold."""


def say(line):
    print(f"prove-stack: {line}", flush=True)


def check(holds, fault):
    if not holds:
        raise Unproven(fault)


def until(what, seconds, holds):
    """Waits until `holds()` gives something true, and returns that. What it raises counts as not yet."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            if found := holds():
                return found
        except (OSError, ValueError, KeyError, IndexError, subprocess.CalledProcessError, Unproven) as error:
            last = error
        if time.monotonic() > end:
            raise Unproven(f"not within {seconds} s: {what}" + (f" ({last})" if last else ""))
        time.sleep(0.5)


def addresses():
    """NAME:PORT of the compose file -> (address here, process id)."""
    rows = [line.split() for line in (STACK / "addresses").read_text().splitlines()]
    return {name: (address, int(pid)) for name, address, pid in rows}


def runs(part):
    return any(name.startswith(f"{part}:") for name in addresses())


def pid(part):
    return next(pid for name, (_, pid) in addresses().items() if name.startswith(f"{part}:"))


def act(what, part):
    """Stops, kills or starts a part."""
    subprocess.run(["scripts/stack/part.sh", what, part], check=True)


def in_localstack(*arguments):
    """Runs Python with the library that speaks to S3."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    subprocess.run([TOOLS / "localstack/bin/python", *arguments], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, **keys})


def objects(way, folder):
    """Copies the bucket's objects out or in."""
    folder.mkdir(exist_ok=True)
    in_localstack("scripts/backup/objects.py", way, BUCKET, folder)


def get(url, **parameters):
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def post(url):
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60).close()


def query(text, **parameters):
    """The series of an instant query."""
    return get(f"{PROMETHEUS}/api/v1/query", query=text, **parameters)["data"]["result"]


def pangea(*arguments, fails=False, seconds=300):
    """What `pangea` says as JSON, of its last line."""
    command = [BINARIES / "pangea", "--output", "json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    if done.returncode and fails:
        return None
    check(done.returncode == 0, f"pangea {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def proportional_memory():
    """MiB of our three services, in which pages that processes share count once: proportional set size."""
    kib = {}
    for part in OURS:
        try:
            lines = pathlib.Path(f"/proc/{pid(part)}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kib[part] = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return {part: round(size / 1024, 1) for part, size in kib.items()}


def fail(error):
    say(f"FAILED: {error}")
    sys.exit(1)
