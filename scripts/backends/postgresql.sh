#!/usr/bin/env bash
# Runs PostgreSQL in the foreground: `postgresql.sh DIR PORT [OPTION…]`. It listens at
# 127.0.0.1:PORT, where the superuser `pangea` needs no password, and keeps its data in DIR, which is
# set up at first use and carries on at the next. The process is the server's own: SIGINT stops it
# and its sessions, SIGKILL is a crash.
set -euo pipefail
(($# >= 2)) || { echo "usage: postgresql.sh DIR PORT [OPTION…]" >&2; exit 2; }

bin="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}/postgresql/bin"
[[ -x "$bin/postgres" ]] || { echo "PostgreSQL is not there; \`make tools\` sets it up" >&2; exit 1; }
mkdir -p "$1"
dir="$(cd "$1" && pwd)"

# PostgreSQL refuses to run as root, so root becomes nobody. It keeps the right to pass permissions:
# the folders on the way to the binaries and to the data may be closed to others. Without
# no_setuid_fixup, access(2), by which PostgreSQL looks for its programs, would disregard that right.
as=()
if ((EUID == 0)); then
  chown nobody "$dir"
  as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups
    --inh-caps=+dac_override --ambient-caps=+dac_override --securebits=+no_setuid_fixup)
fi

# Set up under another name first: one that was broken off is not taken for a whole one.
if [[ ! -d "$dir/data" ]]; then
  rm -rf "$dir/new"
  "${as[@]}" "$bin/initdb" --pgdata="$dir/new" --username=pangea --auth=trust --no-locale \
    --encoding=UTF8 --no-sync
  mv "$dir/new" "$dir/data"
fi

settings=(
  -c listen_addresses=127.0.0.1 -c "port=$2" -c unix_socket_directories=
  -c max_connections=200
  -c jit=off # its library is not unpacked, and tests' statements are short
)
exec "${as[@]}" "$bin/postgres" -D "$dir/data" "${settings[@]}" "${@:3}"
