"""Has doctor.sh look at settings with which the stack would not start, and holds what it says."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

FILES = ("docker-compose.yml", ".env.example", "scripts", "infra")


def doctor(tree, settings):
    (tree / ".env").write_text(settings)
    env = {name: os.environ[name] for name in ("PATH", "PANGEA_TOOLS") if name in os.environ}
    done = subprocess.run(["scripts/doctor.sh"], cwd=tree, env=env | {"HOME": str(tree)},
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def wrong(tree, settings, wanted):
    """What is not as it should be when doctor.sh finds `settings`."""
    status, said = doctor(tree, settings)
    lines = [line for line in said.splitlines() if line.startswith("FAIL") == wanted.startswith("FAIL")]
    if status == (1 if wanted.startswith("FAIL") else status) and any(line.startswith(wanted) for line in lines):
        return []
    return [f"with {settings!r} doctor.sh ends with {status} and does not say {wanted!r}:\n{said}"]


def main():
    problems = []
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        tree = pathlib.Path(folder)
        for name in FILES:
            copy = shutil.copytree if pathlib.Path(name).is_dir() else shutil.copy
            copy(name, tree / name)
        port = taken.getsockname()[1]
        machine = "FAIL  the parts may take"
        for settings, wanted in (
            ("GRAFANA_PROT=3001\n", "note  .env sets GRAFANA_PROT, which nothing here reads"),
            ("GRAFANA_PORT 3001\n", "FAIL  .env has a line that is no NAME=value: GRAFANA_PORT 3001"),
            ("COMPOSE_PROFILES=datadog\n", "FAIL  profile datadog is on and DD_API_KEY is empty"),
            ("PROMETHEUS_MEMORY=a lot\n", "FAIL  docker-compose.yml with .env is not valid"),
            ("PROMETHEUS_MEMORY=100000g\n", machine),
            (f"PROMETHEUS_SERVER_PORT={port}\n", f"FAIL  port {port} is taken"),
        ):
            problems += wrong(tree, settings, wanted)
        _, said = doctor(tree, "APP_ENV=production\n")
        for known in ("GRAFANA_ADMIN_PASSWORD", "POSTGRES_PASSWORD", "POSTGRES_EXPORTER_PASSWORD",
                      "artifacts would be kept in LocalStack"):
            if f"\nFAIL  APP_ENV is production, and {known}" not in f"\n{said}":
                problems.append(f"in production doctor.sh takes {known}:\n{said}")
        (tree / ".env").unlink()
        _, said = doctor(tree, "")
        if "FAIL  port" in said or machine in said or "is not valid" in said:
            problems.append(f"with no settings doctor.sh says:\n{said}")
    print("\n".join(problems) or "doctor-test: passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
