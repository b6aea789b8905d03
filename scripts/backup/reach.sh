# shellcheck shell=bash disable=SC2034 # what is set here is for the scripts that use it
#
# How a backup reaches into the parts: of a native stack, when PANGEA_STACK says where one runs, or of
# the containers of docker-compose.yml.

if [[ -n "${PANGEA_STACK:-}" ]]; then
  if [[ ! -r "$PANGEA_STACK/addresses" ]]; then
    echo "backup: PANGEA_STACK is $PANGEA_STACK, and no stack runs there" >&2
    exit 2
  fi
  export PATH="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}/postgresql/bin:$PATH"
fi

BUCKET="$(setting PANGEA_BUCKET pangea)"
DATABASE="$(setting POSTGRES_DB pangea)"
DATABASE_USER="$(setting POSTGRES_USER pangea)"

native() { [[ -n "${PANGEA_STACK:-}" ]]; }

# The address of NAME:PORT on this host.
at() { # name:port, variable, usual port
  if native; then
    sed -n "s/^$1 \\([^ ]*\\) .*/\\1/p" "$PANGEA_STACK/addresses"
  else
    echo "127.0.0.1:$(setting "$2" "$3")"
  fi
}

in_postgres() { # program, argument…
  if native; then
    local address
    address="$(at postgres:5432 POSTGRES_PORT 5432)"
    PGHOST=127.0.0.1 PGPORT="${address#*:}" PGUSER=pangea "$@"
  else
    scripts/compose.sh exec -T postgres env PGUSER="$DATABASE_USER" "$@"
  fi
}

# Objects leave and enter LocalStack's container through its own folder.
# What went out stays there for the next time, until `objects clear`.
objects() { # out, in, clear or ls; folder, for the first two
  if native; then
    [[ "$1" != clear ]] || return 0
    AWS_ENDPOINT_URL="http://$(at localstack:4566 LOCALSTACK_PORT 4566)" AWS_ACCESS_KEY_ID=test \
      AWS_SECRET_ACCESS_KEY=test "${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}/localstack/bin/python" \
      scripts/backup/objects.py "$1" "$BUCKET" "${2:-.}"
    return
  fi
  local inside=/tmp/pangea-backup python=/opt/code/localstack/.venv/bin/python
  if [[ "$1" == in || "$1" == clear ]]; then scripts/compose.sh exec -T localstack rm -rf "$inside"; fi
  if [[ "$1" == clear ]]; then return; fi
  if [[ "$1" == in ]]; then scripts/compose.sh cp "$2" "localstack:$inside"; fi
  scripts/compose.sh exec -T -e AWS_ENDPOINT_URL=http://127.0.0.1:4566 -e AWS_ACCESS_KEY_ID=test \
    -e AWS_SECRET_ACCESS_KEY=test localstack "$python" - "$1" "$BUCKET" "$inside" \
    <scripts/backup/objects.py
  case "$1" in
    out) scripts/compose.sh cp "localstack:$inside/." "$2" ;;
    in) scripts/compose.sh exec -T localstack rm -rf "$inside" ;;
  esac
}

snapshot_out() { # name of a snapshot, folder
  if native; then
    cp -r "$PANGEA_STACK/prometheus/snapshots/$1/." "$2"
    rm -rf "$PANGEA_STACK/prometheus/snapshots/$1"
  else
    scripts/compose.sh cp "prometheus:/prometheus/snapshots/$1/." "$2"
    scripts/compose.sh exec -T prometheus rm -rf "/prometheus/snapshots/$1"
  fi
}

# While Prometheus is down, its blocks are what the backup has.
series_in() { # folder
  if native; then
    find "$PANGEA_STACK/prometheus" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    cp -r "$1/." "$PANGEA_STACK/prometheus"
  else
    scripts/compose.sh run --rm --no-deps --user 0 --cap-add CHOWN --cap-add DAC_OVERRIDE \
      --volume "$1:/backup:ro" --entrypoint sh prometheus \
      -c 'rm -rf /prometheus/* && cp -r /backup/. /prometheus && chown -R nobody:nobody /prometheus'
  fi
}

parts() { # stop or start, part…
  local act="$1" part
  shift
  if native; then
    for part in "$@"; do scripts/stack/part.sh "$act" "$part"; done
  else
    scripts/compose.sh "$act" "$@"
  fi
}
