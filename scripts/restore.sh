#!/usr/bin/env bash
# Puts a backup in the place of what a running stack has: `restore.sh --yes FOLDER`. Runs, artifacts
# and series that came after the backup are gone afterwards, which is what --yes says.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -eq 2 && "$1" == --yes && -n "$2" ]] || {
  echo "usage: restore.sh --yes FOLDER; what is there now is replaced" >&2
  exit 2
}

# shellcheck source=scripts/settings.sh
. scripts/settings.sh
# shellcheck source=scripts/backup/reach.sh
. scripts/backup/reach.sh

for part in runs.pgdump artifacts prometheus SHA256SUMS; do
  [[ -e "$2/$part" ]] || { echo "restore: $2 is no backup: $part is not there" >&2; exit 2; }
done
from="$(cd "$2" && pwd)"
if ! (cd "$from" && sha256sum --quiet --check SHA256SUMS); then
  echo "restore: $2 is damaged, and nothing was changed" >&2
  exit 1
fi

services=(training-worker-1 training-worker-2 training-worker-3 orchestrator)
parts stop "${services[@]}" prometheus
started=
start_again() {
  [[ -n "$started" ]] && return
  started=1
  parts start prometheus orchestrator
  parts start training-worker-1 training-worker-2 training-worker-3
}
# Whatever fails, the parts do not stay down.
trap start_again EXIT

in_postgres psql --quiet --dbname=postgres --set ON_ERROR_STOP=1 \
  --command="DROP DATABASE \"$DATABASE\" WITH (FORCE)" --command="CREATE DATABASE \"$DATABASE\""
in_postgres pg_restore --exit-on-error --dbname="$DATABASE" <"$from/runs.pgdump"
echo "restore: runs"
objects in "$from/artifacts" >/dev/null # in a message, its failure would be no failure
echo "restore: artifacts"
series_in "$from/prometheus"
echo "restore: series"
mkdir -p grafana/dashboards
cp "$from"/dashboards/*.json grafana/dashboards/ 2>/dev/null || true # a backup may have none
start_again
if ls "$from"/dashboards-of-users/*.json >/dev/null 2>&1; then
  echo "restore: dashboards that people made are in $2/dashboards-of-users; import them in Grafana"
fi
echo "restore: $2 is back"
