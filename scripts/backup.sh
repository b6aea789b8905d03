#!/usr/bin/env bash
# Copies what must not be lost of a running stack into a new folder: runs, artifacts, series,
# dashboards. `backup.sh [FOLDER]`; backups/DATE unless it is named. Nothing is stopped.
#
# Objects are never changed, but a run in work deletes the updates of old rounds. So they are copied
# twice: before the runs, and what is new, at once after them. What the runs name is then in one of the two.
set -euo pipefail
cd "$(dirname "$0")/.."
if (($# > 1)) || [[ "${1:-}" == -* ]]; then
  echo "usage: backup.sh [FOLDER]" >&2
  exit 2
fi

# shellcheck source=scripts/settings.sh
. scripts/settings.sh
# shellcheck source=scripts/backup/reach.sh
. scripts/backup/reach.sh

target="${1:-backups/$(date -u +%Y%m%dT%H%M%SZ)}"
if [[ -e "$target" ]]; then
  echo "backup: $target is there already; name a folder that is not" >&2
  exit 2
fi
prometheus="http://$(at prometheus:9090 PROMETHEUS_SERVER_PORT 9090)"
grafana="http://$(at grafana:3000 GRAFANA_PORT 3000)"

# Under another name until it is whole: one that was broken off is not taken for a backup.
work="$target.part"
mkdir -p "$work"
work="$(cd "$work" && pwd)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/artifacts" "$work/prometheus" "$work/dashboards" "$work/dashboards-of-users"

if ! { objects clear && objects out "$work/artifacts" >/dev/null; }; then
  echo "backup: artifacts cannot be read; does the stack run? \`make health\` says" >&2
  exit 1
fi
if ! in_postgres pg_dump --format=custom --dbname="$DATABASE" >"$work/runs.pgdump"; then
  echo "backup: the run store cannot be read; does the stack run? \`make health\` says" >&2
  exit 1
fi
echo "backup: runs, $(du -h "$work/runs.pgdump" | cut -f1)"

objects out "$work/artifacts" >/dev/null
objects clear
echo "backup: artifacts, $(find "$work/artifacts" -type f | wc -l) objects"

if ! said="$(curl --silent --show-error --fail-with-body --request POST --max-time 300 \
  "$prometheus/api/v1/admin/tsdb/snapshot" 2>&1)"; then
  echo "backup: Prometheus makes no snapshot: $said" >&2
  exit 1
fi
snapshot_out "$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' <<<"$said")" "$work/prometheus"
echo "backup: series, $(du -sh "$work/prometheus" | cut -f1)"

cp grafana/dashboards/*.json "$work/dashboards" 2>/dev/null || echo "backup: grafana/dashboards has no dashboards"
# What people made in Grafana; the ones above are provisioned, and come from the repository.
if native; then
  echo "backup: a native stack has no Grafana"
elif curl --silent --fail --output /dev/null --max-time 5 "$grafana/api/health"; then
  login="$(setting GRAFANA_ADMIN_USER admin):$(setting GRAFANA_ADMIN_PASSWORD admin)"
  found="$(curl --silent --fail --user "$login" "$grafana/api/search?type=dash-db")" || {
    echo "backup: Grafana refuses $login; is the password in .env the one that it was started with?" >&2
    exit 1
  }
  while read -r uid; do
    [[ -z "$uid" ]] || [[ "$uid" == pangea-* ]] || curl --silent --fail --user "$login" \
      "$grafana/api/dashboards/uid/$uid" >"$work/dashboards-of-users/$uid.json"
  done < <(grep -o '"uid":"[^"]*"' <<<"$found" | cut -d'"' -f4)
else
  echo "backup: Grafana does not answer at $grafana; dashboards that people made there are left out"
fi

(cd "$work" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$target.sums"
mv "$target.sums" "$work/SHA256SUMS"
mv "$work" "$target"
trap - EXIT
echo "backup: $target, $(du -sh "$target" | cut -f1)"
