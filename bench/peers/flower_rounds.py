"""Rounds of Flower, in seconds, as one line of JSON.

    flower_rounds.py MODE CASE [--rounds N] [--limit SECONDS] [--log FILE]

MODE is grpc, deployed or simulation; CASE is one of cases.py. A round is from one round's start to
the next one's on the server: sending the model, training, receiving, averaging, with no evaluation.
The first is left out. The server's memory is the sum of its processes' peaks; in the simulation, of
all processes. Everything listens on 127.0.0.1, reports to nobody, and has ended afterwards.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import environment

DIGITS = pathlib.Path(__file__).parents[2] / "examples/digits/digits.csv"
# Rounds where nothing else is said: about ten seconds' worth, or as many as a median needs.
ROUNDS = {
    "grpc": {"digits-2": 101, "digits-8": 101, "params-1m": 51, "params-10m": 12, "params-50m": 6},
    "deployed": {"digits-2": 6, "digits-8": 4, "params-1m": 6, "params-10m": 6, "params-50m": 6},
    "simulation": {"digits-2": 51, "digits-8": 51, "params-1m": 51, "params-10m": 12, "params-50m": 6,
                   "clients-2000": 4},
}
# Clients are as many as cores or more, and the products of the digits are too small for two threads.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
LINES_SHOWN = 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=ROUNDS)
    parser.add_argument("case", choices=ROUNDS["simulation"])
    parser.add_argument("--rounds", type=int, help="2 or more")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which it is given up")
    parser.add_argument("--log", type=pathlib.Path, help="where Flower's output goes; shown if it fails")
    given = parser.parse_args()
    if given.case not in ROUNDS[given.mode]:
        parser.error(f"{given.case} is for the simulation alone")
    given.rounds = given.rounds or ROUNDS[given.mode][given.case]
    if given.rounds < 2:
        parser.error("N is 2 or more: the first round is left out")
    return given


def measure(given, clients, folder, log):
    import cases
    import flower_deployed
    import flower_grpc
    import flower_simulation

    report = folder / "report.json"
    digits = folder / "digits.npz"
    cases.write_digits(DIGITS, digits)
    os.environ.update({
        cases.DIGITS: str(digits),
        "PEERS_CASE": given.case,
        "PEERS_ROUNDS": str(given.rounds),
        "PEERS_REPORT": str(report),
        "FLWR_HOME": str(folder),
        "PYTHONPATH": str(pathlib.Path(__file__).parent),
    })
    deadline = time.monotonic() + given.limit
    if given.mode == "grpc":
        memory = flower_grpc.measure(given.case, clients, given.rounds, report, log, deadline)
    elif given.mode == "deployed":
        memory = flower_deployed.measure(folder, clients, report, log, deadline)
    else:
        memory = flower_simulation.measure(folder, clients, report, log, deadline)
    told = json.loads(report.read_text())
    if "error" in told:
        raise RuntimeError(told["error"])
    return told, memory


def main():
    given = arguments()
    environment.enter(ONE_THREAD)
    import cases
    import flwr
    import processes

    clients = cases.CASES[given.case].clients
    processes.adopt_orphans()
    # A short path: Ray's sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="peers", ignore_cleanup_errors=True) as folder:
        log = given.log or pathlib.Path(folder) / "log"
        try:
            with log.open("wb") as output:
                report, memory = measure(given, clients, pathlib.Path(folder), output)
        except (TimeoutError, RuntimeError) as error:
            shown = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
            sys.exit("\n".join([*shown, f"flower_rounds: {given.mode} {given.case}: {error}"]))
        finally:
            processes.end_all()
    seconds = report["seconds"][1:]
    median = statistics.median(seconds)
    print(json.dumps({
        "peer": f"flower {flwr.__version__}",
        "mode": given.mode,
        "case": given.case,
        "clients": clients,
        "seconds_per_round": round(median, 5),
        "fastest": round(min(seconds), 5),
        "slowest": round(max(seconds), 5),
        "clients_per_second": round(clients / median, 1),
        "rounds": given.rounds,
        "server_peak_rss_mb": round(memory / 1e6, 1),
        "accuracy": report["accuracy"],
    }))


if __name__ == "__main__":
    main()
