"""A house to measure: one process, or each service in its own, on this machine alone."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120  # seconds for anything to start or end


def binaries():
    """The folder of the binaries: PANGEA_BINARIES, or where cargo builds those of a release."""
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    return Path(os.environ.get("PANGEA_BINARIES", built))


class House:
    """Processes over a folder of their own, which goes with them."""

    def __init__(self, mode, workers, threads=1, slots=1, backends=None):
        self.folder = tempfile.TemporaryDirectory(prefix="pangea-bench-")
        self.path = Path(self.folder.name)
        self.processes = {}
        self.http = {}
        if mode == "embedded":
            self._embedded(workers)
        else:
            self._separate(workers, threads, slots, backends or {})

    def _embedded(self, workers):
        arguments = ["--free-ports", "--workers", str(workers), "--output", "json"]
        process = self._start("house", "pangea", ["up", "--data-dir", self.path / "data", *arguments], {})
        places = json.loads(self._line_of("house", process, lambda line: line.startswith("[")))
        self.server = next(place["grpc"] for place in places if place["service"] == "orchestrator")

    def _separate(self, workers, threads, slots, backends):
        core, orchestrator = (f"{self.path}/{name}.sock" for name in ("core", "orchestrator"))
        listen = {"HTTP__LISTEN": "127.0.0.1:0", "GRPC__LISTEN": "127.0.0.1:0"}
        self._service("compute-core", listen | {"GRPC__UNIX_SOCKET": core, "ENGINE__THREADS": str(threads)})
        self._service(
            "orchestrator",
            listen
            | {
                "GRPC__UNIX_SOCKET": orchestrator,
                "COMPUTE": f"unix:{core}",
                "DATA_DIR": str(self.path / "data"),
            }
            | backends,
        )
        for number in range(1, workers + 1):
            settings = {
                "ID": f"worker-{number}",
                "SLOTS": str(slots),
                "ORCHESTRATOR": f"unix:{orchestrator}",
                "COMPUTE": f"unix:{core}",
                "HTTP__LISTEN": "127.0.0.1:0",
            }
            self._service("training-worker", settings, f"worker-{number}")
        self.server = f"unix:{orchestrator}"

    def _service(self, service, settings, name=None):
        binary = f"pangea-{service}"
        prefix = binary.replace("-", "_").upper()
        # Variables of the AWS SDK have no prefix of ours.
        variables = {key if key.startswith("AWS_") and "__" not in key else f"{prefix}__{key}": value
                     for key, value in settings.items()}
        process = self._start(name or service, binary, [], variables)
        line = self._line_of(name or service, process, lambda line: ' answers"' in line)
        self.http[name or service] = json.loads(line)["http"]

    def _line_of(self, name, process, is_wanted):
        """The first line that a process says which is wanted."""
        with open(self.path / f"{name}.log") as log:
            end = time.monotonic() + PATIENCE
            while process.poll() is None and time.monotonic() < end:
                line = log.readline()
                if line.endswith("\n") and is_wanted(line):
                    return line
                if not line:
                    time.sleep(0.002)
        raise SystemExit(f"{name} did not say that it answers; its log is {self.path}/{name}.log")

    def _start(self, name, binary, arguments, variables):
        path = binaries() / binary
        if not path.is_file():
            raise SystemExit(f"{path} is not there; `cargo build --release --workspace --bins` builds it")
        log = open(self.path / f"{name}.log", "w")
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.path), "LOG_LEVEL": "info", **variables}
        process = subprocess.Popen(
            [path, *arguments], stdout=log, stderr=log, env=environment
        )
        self.processes[name] = process
        return process

    def pangea(self, *arguments):
        """What the command line says, as JSON."""
        command = [binaries() / "pangea", *arguments, "--server", self.server, "--output", "json"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if told.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}: {told.stderr}")
        return [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]

    def events(self, run, left_out=None):
        """The events of a run as they come, each with the time of its arrival in seconds; a kind that comes
        by the thousand can be left out, since to read it would take the services' time."""
        command = [binaries() / "pangea", "watch", run, "--server", self.server, "--output", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
            for line in watch.stdout:
                if f'"{left_out}"' not in line:
                    yield time.perf_counter(), json.loads(line)

    def metrics(self, name):
        """What a service counts: the value of each series."""
        with urllib.request.urlopen(f"http://{self.http[name]}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {series: float(value) for series, value in pairs}

    def peak_mib(self, name):
        """The most memory that a process has had, in MiB."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def cpu_seconds(self, name):
        """The processor time that a process has taken."""
        fields = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        self.folder.cleanup()
