"""Runs what the pages tell a reader to type, on the running native stack: for proofs.py, and alone by
`PANGEA_BINARIES=DIR scripts/stack.sh python3 scripts/prove/documented.py`.

Commands run in a copy of the repository, so that what they write is gone afterwards. Usual addresses
become those of this stack; RUN, ROUND and WORKER become what README's own job left. Each must end
with status 0, and curl's answers must not be errors. Commands of `docker compose` are read by it and
not run, as there are no containers; others that are not run stand in not-run.txt, each with a reason.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.error

import mentions
import pages
from parts import BINARIES, PROMETHEUS, Unproven, addresses, check, fail, get, pangea, say

SECONDS = 300  # a backup, or twenty rounds on a busy machine
LINES = 5      # of what a command said, when it fails


def usual_ports():
    """Port as the pages have it -> the address of that part here."""
    table = pathlib.Path("scripts/stack/programs.sh").read_text(encoding="utf-8").split('PORTS="\n')[1].split('"\n')[0]
    here = {name: address for name, (address, _) in addresses().items()}
    rows = [line.split() for line in table.splitlines()]
    return {usual: here.get(name) for name, _, usual in rows if usual != "-"}


class Typist:
    """Types commands as a reader would, in a copy of the repository."""

    def __init__(self, tree):
        self.tree, self.ports = tree, usual_ports()
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
            if name and pathlib.Path(name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(name, tree / name)
        (tree / ".curlrc").write_text("fail\n")
        # A reader's shell knows where the stack is, and none of the addresses that tests use.
        given = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        self.environment = {**given, "CURL_HOME": str(tree),
                            "PATH": f"{BINARIES.resolve()}:{os.environ['PATH']}"}
        self.run = None
        version = subprocess.run(["scripts/compose.sh", "version"], capture_output=True, text=True)
        self.compose = version.returncode == 0
        if not self.compose:
            check(os.environ.get("REQUIRE_TOOLS") != "1", version.stderr.strip())
            print(f"SKIPPED: commands of docker compose in pages: {version.stderr.strip()}", flush=True)

    def filled(self, text):
        """With this stack's addresses, and with a run where one is asked for."""
        def here(found):
            address = self.ports.get(found[1], found[0])
            check(address, f"{found[0]} is of a part that does not run here")
            return address
        text = re.sub(r"\b(?:localhost|127\.0\.0\.1):(\d+)\b", here, text)
        if re.search(r"\b(RUN|ROUND)\b", text) and not self.run:
            self.run = pangea("run", "latest")
        for word, value in (("WORKER", lambda: "training-worker-1"), ("RUN", lambda: self.run["run"]),
                            ("ROUND", lambda: self.run["rounds_committed"])):
            text = re.sub(rf"\b{word}\b", lambda _: str(value()), text)
        return text

    def type(self, command):
        script = f"set -euo pipefail\n{command}"
        process = subprocess.Popen(["bash", "-c", script], cwd=self.tree, env=self.environment, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            said, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Unproven(f"not done after {SECONDS} s") from None
        # `| head` ends who still writes.
        cut_off = "| head" in command and process.returncode == 128 + signal.SIGPIPE
        last = "\n    ".join(said.strip().splitlines()[-LINES:])
        check(process.returncode == 0 or cut_off, f"status {process.returncode}\n    {last}")

    def read_by_compose(self, command):
        """Whether compose knows the command, its options and the services that it names."""
        words = pages.without_comment(command).split()[2:]
        done = subprocess.run(["scripts/compose.sh", *words, "--help"], capture_output=True, text=True)
        check(done.returncode == 0, f"compose refuses this: {done.stderr.strip()}")
        listed = subprocess.run(["scripts/compose.sh", "--profile", "*", "config", "--services"],
                                check=True, capture_output=True, text=True)
        strange = [word for word in words[1:] if not word.startswith("-") and word not in listed.stdout.split()]
        check(not strange, f"docker-compose.yml has no {', '.join(strange)}")


def commands_work(typist):
    """Types all commands; what each said that did not work, and how many were run, read and left out."""
    faults, done, not_run = [], {}, pages.NotRun()
    run = read = left_out = 0
    for page, number, command in pages.commands():
        by_compose = command.startswith("docker compose ")
        if not_run.reason(command) or by_compose and not typist.compose:
            left_out += 1
            continue
        read, run = read + by_compose, run + (not by_compose)
        words = pages.without_comment(command)
        if words not in done:
            try:
                typist.read_by_compose(words) if by_compose else typist.type(typist.filled(words))
                done[words] = None
            except Unproven as fault:
                done[words] = str(fault)
        if done[words]:
            faults.append(f"{page}:{number}: {words}: {done[words]}")
    faults += [f"{pages.NOT_RUN}: no page has `{pattern}`" for pattern in not_run.stale()]
    return faults, run, read, left_out


def queries_work(typist):
    """Asks Prometheus each query; what is wrong with them, and how many there are. That the series exist
    is `cargo xtask alerts`'s to say."""
    faults, asked = [], pages.queries()
    for page, number, text in asked:
        try:
            get(f"{PROMETHEUS}/api/v1/query", query=typist.filled(text))
        except urllib.error.HTTPError as error:
            faults.append(f"{page}:{number}: {text}: Prometheus says {error.read().decode()}")
    return faults, len(asked)


def pages_read_well():
    """What is wrong with the pages that no command shows."""
    names = mentions.known()
    for page in pages.PAGES:
        yield from (f"{page}:{number}: a fence of commands is called sh" for number in pages.misnamed(page))
        yield from (f"{page}: there is no `{command}`" for command in mentions.strange(page, names))


def pages_tell_what_works():
    faults = list(pages_read_well())
    with tempfile.TemporaryDirectory(prefix="pangea-documented.") as tree:
        typist = Typist(pathlib.Path(tree))
        wrong, run, read, left_out = commands_work(typist)
        wrong_queries, queries = queries_work(typist)
    faults += wrong + wrong_queries
    count = len({page for page, _, _ in pages.commands() + pages.queries()})
    check(not faults, "what the pages say does not work:\n  " + "\n  ".join(faults))
    say(f"{run} commands and {queries} queries of {count} pages run, {left_out} left out "
        f"({pages.NOT_RUN}); {read} of docker compose read by it")


if __name__ == "__main__":
    try:
        pages_tell_what_works()
    except (Unproven, OSError, subprocess.SubprocessError) as error:
        fail(error)
