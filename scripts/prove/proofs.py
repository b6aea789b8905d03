"""The proofs, one after the other: for scripts/prove-stack.sh, inside of the stack that it runs."""

import os
import pathlib
import re
import subprocess
import threading
import time

import documented
import faults
import keeping
import telling
import workload
from parts import ALERTMANAGER, PROMETHEUS, STACK, Unproven, check, fail, get, pangea, post
from parts import proportional_memory, query, runs, say, until
from told import FOLDER, fired, firing, ways

FACTOR = int(os.environ["PROVE_FACTOR"])
IDLE_SECONDS = 90       # a quarter of an hour and more, for rules that are so many times as fast
WORKLOAD_SECONDS = 120  # what dashboards look back over, twice
# What our services may take together while a job trains, built for release; others take more.
MEMORY_MIB = int(os.environ.get("PROVE_MEMORY_MIB") or 150)
MEMORY_SECONDS = 45     # about as many rounds

# Alerts that speak of this machine, whoever makes it busy or fills its disk, are no fault of an idle
# stack; those on error budgets look back over hours, however fast, and so resolve later than anybody
# waits here.
MACHINE = {"HostDiskFull", "HostDiskFilling", "HighResourceUsage"}
BUDGETS = {"ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly", "ErrorBudgetExhausted"}
# What Alertmanager's routes lead to; PostgresDown alone takes all of them.
WAYS = {"webhook", "slack", "pagerduty", "email"}


def hasten():
    """Has Prometheus and Alertmanager read the fast copies. From here on, since a stack that starts
    would have alerts of it: a minute without an orchestrator is four seconds."""
    config = STACK / "prometheus.yml"
    text = re.sub(r"\S+/infra/prometheus/rules/", f"{FOLDER}/faster/rules/", config.read_text())
    # Without its database the exporter answers after three seconds; a timeout is no longer than an interval.
    slow = "  - job_name: postgres-exporter\n"
    check(slow in text, "prometheus.yml has no job postgres-exporter")
    config.write_text(text.replace(slow, slow + "    scrape_interval: 5s\n    scrape_timeout: 5s\n"))
    (STACK / "alertmanager.yml").write_text((FOLDER / "faster/alertmanager.yml").read_text())
    post(f"{PROMETHEUS}/-/reload")
    post(f"{ALERTMANAGER}/-/reload")


def targets_are_up():
    named = {
        name for line in pathlib.Path("prometheus.yml").read_text().splitlines()
        if not line.lstrip().startswith("#")
        for name in re.findall(r"[\"\s]([a-z][a-z0-9-]*:\d+)\b", line)
    }
    native = {name for name in named if runs(name.split(":")[0])}

    def all_up():
        targets = get(f"{PROMETHEUS}/api/v1/targets", state="active")["data"]["activeTargets"]
        up = {target["labels"]["instance"] for target in targets if target["health"] == "up"}
        check(up == native, f"up: {sorted(up)}; wanted: {sorted(native)}")
        return up

    up = until("every target is up", 60, all_up)
    say(f"{len(up)} of {len(named)} targets are up; left out: {', '.join(sorted(named - up)) or 'none'}")


def idle_is_silent():
    time.sleep(IDLE_SECONDS)
    told = fired() - MACHINE
    check(not told, f"an idle stack tells of {sorted(told)}")
    groups = get(f"{PROMETHEUS}/api/v1/rules", type="alert")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    unwell = [rule["name"] for rule in rules if rule["health"] != "ok"]
    check(rules and not unwell, f"rules that Prometheus cannot evaluate: {unwell}")
    say(f"an idle stack told nobody anything for {IDLE_SECONDS} s, {FACTOR} times as fast; {len(rules)} alerts")


class Memory:
    """Looks at our services' memory every second or two, and keeps the largest sum."""

    def __init__(self):
        self.largest, self.ended = {}, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.ended.wait(1.5):
            now = proportional_memory()
            if sum(now.values()) > sum(self.largest.values()):
                self.largest = now

    def end(self):
        """MiB together, and in words."""
        self.ended.set()
        self.thread.join()
        total = sum(self.largest.values())
        parts = ", ".join(f"{part} {size:.0f}" for part, size in self.largest.items())
        return total, f"our services take {total:.0f} MiB at most (Pss: {parts})"


def memory_is_small():
    memory = Memory()
    long = workload.one_job()
    time.sleep(MEMORY_SECONDS)
    total, words = memory.end()
    check(total <= MEMORY_MIB, f"while a job trains, {words}; wanted: {MEMORY_MIB}")
    say(f"while a job trains, {words}")
    return long


def dashboards_show_data():
    jobs = re.findall(r"^  - job_name: (\S+)", pathlib.Path("prometheus.yml").read_text(), re.M)
    scraped = {series["metric"]["job"] for series in query("up")}
    without = [word for job in jobs if job not in scraped for word in ("--without", job)]
    command = ["cargo", "xtask", "dashboards", "--against", PROMETHEUS, *without]
    done = subprocess.run(command, capture_output=True, text=True)
    check(done.returncode == 0, f"dashboards:\n{done.stdout}{done.stderr}")
    say(done.stdout.strip().splitlines()[-1])


def others_find_their_names():
    """Labels of requests that are copied while scraping, and histograms that rules copy."""
    for selector in ('http_requests_total{path!="",route!="",status_code!=""}',
                     'http_request_duration_seconds_count{path!="",route!="",status_code!=""}',
                     'database_query_duration_seconds_bucket{query_type!="",table!=""}',
                     "success_rate_sli", "response_time_sli", "cpu_usage_percent"):
        check(query(selector), f"there is no {selector}")
    different = query('http_requests_total{job=~"pangea-.+"} unless on (job, instance, method, path, status_code) '
                      'label_replace(label_replace(http_requests_total, "path", "$1", "endpoint", "(.+)"), '
                      '"status_code", "$1", "status", "(.+)")')
    check(not different, f"path and status_code are not endpoint and status: {different}")
    say("requests, statements and trends are there under the names of others")


def have_ended():
    left = firing() - MACHINE - BUDGETS
    check(not left, f"{sorted(left)} still fire")
    return True


def faults_are_told_and_mended(long):
    for fault in faults.AROUND_A_RUN:
        faults.make(*fault)
    before = workload.shown(long)["rounds_committed"]
    until("the run that met these faults goes on", 120,
          lambda: workload.shown(long)["rounds_committed"] > before + 2)
    say(f"the run that met these faults goes on after round {before}")
    pangea("cancel", long)
    for fault in faults.ALONE:
        faults.make(*fault)
    count = sum(len(alerts) for *_, alerts in faults.AROUND_A_RUN + faults.ALONE)
    until(f"messages by all of {sorted(WAYS)}", faults.FIRES_SECONDS, lambda: WAYS <= ways())
    others = ", ".join(sorted(WAYS - {"webhook"}))
    say(f"{count} alerts went through Alertmanager to the webhook, some of them also to {others}")
    until("alerts end when faults are mended", faults.RESOLVES_SECONDS, have_ended)
    say("all of them are resolved")


def work_is_shown(begin):
    """Trains jobs, the first as `begin` does, and looks at what tells of them; returns that run, those
    of the others, and a trace."""
    begun = time.monotonic()
    long = begin()
    memory = Memory()
    trained = workload.several_jobs()
    say(f"{len(trained)} jobs were trained at once, beside one that goes on; {memory.end()[1]}")
    told = telling.trace_leads_through_all()
    time.sleep(max(0, begun + WORKLOAD_SECONDS - time.monotonic()))
    dashboards_show_data()
    others_find_their_names()
    return long, trained, told


def the_core():
    targets_are_up()
    hasten()
    work_is_shown(workload.one_job)
    faults.make(*faults.AROUND_A_RUN[0])
    say("the proofs of the short form hold")


def everything():
    targets_are_up()
    hasten()
    idle_is_silent()
    long, trained, told = work_is_shown(memory_is_small)
    documented.pages_tell_what_works()
    telling.traces_outlast_a_restart(*told)
    faults_are_told_and_mended(long)
    keeping.nothing_is_lost(trained[0])
    say("all proofs hold")


if __name__ == "__main__":
    try:
        the_core() if os.environ.get("PROVE_SHORT") else everything()
    except (Unproven, OSError, subprocess.SubprocessError) as error:
        fail(error)
