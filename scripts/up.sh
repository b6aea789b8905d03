#!/usr/bin/env bash
# Starts the stack and waits until every part is well: `up.sh [ARGUMENT OF docker compose up…]`.
# What cannot work is said before anything starts.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/doctor.sh --quiet
REVISION="${REVISION:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}"
export REVISION
if ! scripts/compose.sh up --detach --wait --wait-timeout "${UP_SECONDS:-600}" "$@"; then
  echo "up: these parts are not well; their last lines follow" >&2
  scripts/compose.sh ps --all --format '{{.Service}} {{.State}} {{.Health}}' |
    while read -r service state health; do
      [[ "$state $health" == "running healthy" ]] && continue
      echo "up: $service is $state${health:+, $health}" >&2
      scripts/compose.sh logs --tail 10 "$service" >&2
    done
  echo "up: \`make health\` looks again, \`make down\` ends what runs" >&2
  exit 1
fi
scripts/health.sh
