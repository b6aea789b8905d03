#!/usr/bin/env bash
# What is worth doing now and then, on a running stack: `maintenance.sh`. Retention is the parts' own
# work; this looks that they do it, frees what was deleted, takes a backup, and asks how all is.
#
#   maintenance.sh                         all of it
#   maintenance.sh --delete-series MATCHER  deletes series, such as '{run="…"}', from Prometheus
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/settings.sh
. scripts/settings.sh
# shellcheck source=scripts/backup/reach.sh
. scripts/backup/reach.sh
prometheus="http://$(at prometheus:9090 PROMETHEUS_SERVER_PORT 9090)"

post() { # path, argument of curl…
  local said path="$1"
  shift
  if ! said="$(curl --silent --show-error --fail-with-body --max-time 120 --request POST "$@" \
    "$prometheus$path" 2>&1)"; then
    echo "maintenance: Prometheus refuses $path: $said" >&2
    exit 1
  fi
}

case "${1:-}" in
  --delete-series)
    [[ $# -eq 2 && "$2" == *"{"*=*"}"* ]] || {
      echo "usage: maintenance.sh --delete-series '{label=\"value\"}'" >&2
      exit 2
    }
    post "/api/v1/admin/tsdb/delete_series" --get --data-urlencode "match[]=$2"
    post /api/v1/admin/tsdb/clean_tombstones
    echo "maintenance: series that match $2 are deleted"
    exit
    ;;
  "") ;;
  *) echo "usage: maintenance.sh [--delete-series MATCHER]" >&2; exit 2 ;;
esac

post /-/reload
echo "maintenance: Prometheus has read its rules again"
post /api/v1/admin/tsdb/clean_tombstones
in_postgres psql --quiet --dbname="$DATABASE" --command='VACUUM (ANALYZE)'
echo "maintenance: the run store is vacuumed"
scripts/backup.sh
for old in $(find backups -mindepth 1 -maxdepth 1 -type d -name '*Z' 2>/dev/null | sort | head -n -7); do
  rm -rf "$old"
  echo "maintenance: $old is older than the last seven backups, and deleted"
done
scripts/health.sh
