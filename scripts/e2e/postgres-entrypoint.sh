#!/bin/bash
# What the image of PostgreSQL promises, as far as docker-compose.yml uses it: a cluster in a folder of
# its version, a superuser with a password, a database, and scripts that run once.
set -euo pipefail

version="$(ls /usr/lib/postgresql)"
export PATH="/usr/lib/postgresql/$version/bin:$PATH"
export PGDATA="/var/lib/postgresql/$version/docker"

if [[ "$1" == postgres && ! -s "$PGDATA/PG_VERSION" ]]; then
  mkdir -p "$PGDATA"
  initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
  # As in the image, it is set up by a server that listens at its socket alone.
  pg_ctl --wait start --options="-c listen_addresses='' ${*:2}"
  [[ "$POSTGRES_DB" == postgres ]] || createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sh; do
    [[ ! -f "$script" ]] || bash "$script"
  done
  pg_ctl --wait stop --mode=fast
fi
exec "$@"
