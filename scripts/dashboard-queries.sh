#!/usr/bin/env bash
# Executes each query and each variable of the dashboards against a Prometheus, and fails when one
# yields nothing or what is not a number. A workload must have run there for two minutes, with one
# run that ended, so that there is something to see.
#
#   scripts/dashboard-queries.sh http://localhost:9090 [JOB…]
#
# Each JOB is one that this Prometheus does not scrape, such as `cadvisor loki` where there are no
# containers: what only it shows is left out, and counted. Queries that may be empty for another
# reason are in grafana/empty.yaml, and fail when they are not.
set -euo pipefail
cd "$(dirname "$0")/.."

url="${1:?expected the address of a Prometheus, such as http://localhost:9090}"
shift
without=()
for job in "$@"; do
  without+=(--without "$job")
done
exec cargo xtask dashboards --against "$url" "${without[@]}"
