"""Flower's simulation: Ray's actors take turns at being the clients.

`flower_rounds.py` starts this file as a process of its own, with the folder that Ray may use. What
is counted as memory is that of this process and of all of Ray's, store and clients included.
"""

import os
import subprocess
import sys

import processes


def measure(folder, clients, report, log, deadline):
    """Runs the case that the environment names; the peak memory of all processes in bytes."""
    command = [sys.executable, __file__, str(folder), str(clients)]
    simulation = subprocess.Popen(command, stdout=log, stderr=log)
    memory = processes.MemoryWatch(simulation.pid)
    processes.until("the rounds", deadline, report.exists, [simulation])
    return memory.end()


def simulate(folder, clients):
    import flower_apps
    from flwr.simulation import run_simulation

    run_simulation(
        server_app=flower_apps.server_app,
        client_app=flower_apps.client_app,
        num_supernodes=int(clients),
        backend_config={
            "init_args": {
                "num_cpus": os.cpu_count(),
                "num_gpus": 0,
                "include_dashboard": False,
                "_temp_dir": folder,
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    simulate(*sys.argv[1:])
