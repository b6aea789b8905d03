"""Flower as it is deployed: a SuperLink, a SuperNode for each client, and `flwr run`, as they come.

What the server holds is the memory of the SuperLink and of all that it starts.
"""

import os
import pathlib
import shutil
import subprocess

import environment
import processes

HERE = pathlib.Path(__file__).parent
APP = """[project]
name = "peers"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.flwr.app]
publisher = "peers"

[tool.flwr.app.components]
serverapp = "flower_apps:server_app"
clientapp = "flower_apps:client_app"
"""
CONFIG = """[superlink]
default = "peers"

[superlink.peers]
address = "127.0.0.1:{port}"
insecure = true
"""


def measure(folder, clients, report, log, deadline):
    """Runs the case that the environment names, in Flower's folder; the server's peak memory in bytes."""
    app = folder / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(APP)
    for name in ("flower_apps.py", "cases.py", "stopwatch.py"):
        shutil.copy(HERE / name, app)
    port, *ports = processes.free_ports(1 + clients)
    (folder / "config.toml").write_text(CONFIG.format(port=port))
    # Flower starts its own programs by name.
    path = f"{environment.HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"
    surroundings = {**os.environ, "PATH": path}

    def start(program, *given):
        command = [environment.HOME / "bin" / program, *map(str, given)]
        return subprocess.Popen(command, stdout=log, stderr=log, env=surroundings, cwd=folder)

    link = start("flower-superlink", "--insecure", "--port", port, "--disable-runtime-dependency-installation")
    memory = processes.MemoryWatch(link.pid)
    processes.until("the SuperLink", deadline, lambda: processes.listens(port), [link])
    nodes = [
        start("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", own,
              "--node-config", f"partition-id={number} num-partitions={clients}")
        for number, own in enumerate(ports)
    ]
    for number, own in enumerate(ports):
        processes.until(f"SuperNode {number}", deadline, lambda own=own: processes.listens(own), [link, *nodes])
    submission = start("flwr", "run", app, "peers")
    processes.until("flwr run", deadline, lambda: submission.poll() is not None)
    if submission.returncode != 0:
        raise RuntimeError(f"flwr run ended with {submission.returncode}")
    processes.until("the rounds", deadline, report.exists, [link, *nodes])
    return memory.end()
