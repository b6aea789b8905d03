"""Goes on inside the virtual environment of the peers, or says what sets it up."""

import os
import pathlib
import sys

TOOLS = pathlib.Path(os.environ.get("PANGEA_TOOLS") or pathlib.Path.home() / ".cache/pangea/tools")
HOME = TOOLS / "peers"
REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")

# Flower and Ray tell their makers of their use, and look for newer versions, unless told not to.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's way to say: this machine alone. Otherwise it listens on every address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GRPC_PROXY")

# Without what it compiled, each process that Flower starts would begin by compiling.
UNCOMPILED = "PYTHONDONTWRITEBYTECODE"


def enter(settings=None):
    """Starts this script anew with the peers' Python and `settings` in its environment, unless it
    already runs so."""
    wanted = {**QUIET, **(settings or {})}
    if not (HOME / "wanted").exists():
        sys.exit(f"the peers are not in {HOME}: scripts/bench-peers-setup.sh sets them up")
    if (HOME / "wanted").read_bytes() != REQUIREMENTS.read_bytes():
        sys.exit(f"the peers in {HOME} have other versions: scripts/bench-peers-setup.sh renews them")
    if os.path.samefile(sys.prefix, HOME) and all(os.environ.get(k) == v for k, v in wanted.items()):
        return
    dropped = {UNCOMPILED, *PROXIES, *(name.lower() for name in PROXIES)}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    python = HOME / "bin/python"
    os.execve(python, [str(python), *sys.argv], {**kept, **wanted})
