"""Backup, loss of everything, restore: a run, its model, series and a dashboard are as they were."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import time

from parts import BUCKET, PROMETHEUS, STACK, TOOLS, WORKERS
from parts import act, check, get, in_localstack, pangea, query, say, until
from told import FOLDER
from workload import shown, submit

DASHBOARD = pathlib.Path("grafana/dashboards/pangea-metrics.json")
SERIES = 'collab_sessions_total{status="completed"}'


def what_there_is(run, end):
    """What must be the same afterwards."""
    known = shown(run)
    model = known["model"]
    file = FOLDER / "model.safetensors"
    file.unlink(missing_ok=True)
    pangea("model", "download", f"{model['name']}@{model['version']}", "--to", file)
    series = get(f"{PROMETHEUS}/api/v1/query_range", query=SERIES, start=end - 60, end=end, step=1)
    return {
        "run": known,
        "model": hashlib.sha256(file.read_bytes()).hexdigest(),
        "series": series["data"]["result"],
        "dashboard": hashlib.sha256(DASHBOARD.read_bytes()).hexdigest(),
    }


def lose_everything():
    for part in [*WORKERS, "orchestrator"]:
        act("stop", part)
    shutil.rmtree(STACK / "orchestrator")
    subprocess.run([TOOLS / "postgresql/bin/psql", "--quiet", os.environ["DATABASE_URL"], "--command",
                    "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public"], check=True)
    bucket = f"boto3.resource('s3', region_name='eu-west-2').Bucket('{BUCKET}')"
    in_localstack("-c", f"import boto3; {bucket}.objects.delete()")
    subprocess.run(["scripts/maintenance.sh", "--delete-series", '{__name__="collab_sessions_total"}'],
                   check=True, stdout=subprocess.DEVNULL)
    check(not query(f"count_over_time({SERIES}[1h])"), "series are there that were deleted")
    DASHBOARD.unlink()


def nothing_is_lost(run):
    """Comes last: Prometheus forgets alerts that began with the loss, and Alertmanager holds them for
    minutes."""
    long = submit("kept", 8, 100_000)
    until("a job is trained after all faults", 120, lambda: shown(long)["rounds_committed"] > 2)
    end = int(time.time()) - 2
    before = what_there_is(run, end)
    check(before["series"], f"there is no {SERIES}")
    dashboard = DASHBOARD.read_bytes()
    try:
        backup = FOLDER / "backup"
        begun = time.monotonic()
        subprocess.run(["scripts/backup.sh", backup], check=True, stdout=subprocess.DEVNULL)
        backed_up = time.monotonic() - begun
        listed = subprocess.run(["scripts/s3-ls.sh"], check=True, capture_output=True, text=True).stdout
        check(re.search(rf"^s3://{BUCKET} +[1-9]", listed, re.M), f"the bucket is not listed:\n{listed}")
        rounds = shown(long)["rounds_committed"]
        lose_everything()
        begun = time.monotonic()
        subprocess.run(["scripts/restore.sh", "--yes", backup], check=True, stdout=subprocess.DEVNULL)
        until("the orchestrator and Prometheus answer after the restore", 120,
              lambda: shown(run) and query("up"))
        restored = time.monotonic() - begun
        after = what_there_is(run, end)
        for what, value in before.items():
            check(after[what] == value, f"{what} was {value}, and is {after[what]} after the restore")
        until("the run in work goes on after the restore", 120,
              lambda: shown(long)["rounds_committed"] > rounds + 2)
    finally:
        DASHBOARD.write_bytes(dashboard)
    say(f"a backup ({backed_up:.0f} s) brought back all that was lost ({restored:.0f} s): run, model "
        f"{before['model'][:12]}, series, dashboard; the run in work goes on")
