#!/bin/bash
# Run once, on a new database: counts of statements, and a user for the exporter who may read the
# server's numbers and no table of ours.
set -euo pipefail

psql --quiet --set ON_ERROR_STOP=1 --set password="${POSTGRES_EXPORTER_PASSWORD:-exporter}" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
CREATE ROLE exporter LOGIN PASSWORD :'password';
GRANT pg_monitor TO exporter;
SQL
