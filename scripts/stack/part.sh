#!/usr/bin/env bash
# Ends one part of a running native stack, or starts it again as it was: `part.sh stop|kill|start PART`,
# with PANGEA_STACK. For trying what an outage does, and for putting data back.
set -euo pipefail

usage() {
  echo "usage: PANGEA_STACK=DIR part.sh stop|kill|start PART; parts: $(parts)" >&2
  exit 2
}

parts() {
  cut -d: -f1 "${PANGEA_STACK:-.}/addresses" 2>/dev/null | sort -u | paste -sd' ' || true
}

if (($# != 2)) || [[ ! -r "${PANGEA_STACK:-}/addresses" ]]; then usage; fi
act="$1" part="$2"
pid="$(sed -n "s/^$part:[0-9]* [^ ]* \\([0-9]*\\)\$/\\1/p" "$PANGEA_STACK/addresses" | head -n 1)"
[[ -n "$pid" ]] || usage
launched="$PANGEA_STACK/launched/$part"

signal() { # signal
  # Told apart, by this, from a part that ends by itself.
  touch "$launched.ended"
  kill "-$1" -- "-$pid" 2>/dev/null || return 0 # it has ended already
  for _ in $(seq 400); do
    kill -0 -- "-$pid" 2>/dev/null || return 0
    sleep 0.05
  done
  echo "part: $part (pid $pid) does not end" >&2
  exit 1
}

case "$act" in
  stop)
    case "$part" in
      localstack) signal KILL ;; # it has nothing to put away, and takes its time
      postgres) signal INT ;;    # at SIGTERM it would wait for its sessions
      *) signal TERM ;;
    esac
    ;;
  kill) signal KILL ;;
  start)
    if kill -0 "$pid" 2>/dev/null; then
      echo "part: $part runs already (pid $pid)" >&2
      exit 1
    fi
    mapfile -d '' arguments <"$launched.arguments"
    mapfile -d '' environment <"$launched.environment"
    cd "$(dirname "$0")/../.."
    # A group of its own, so that the stack ends it like those that it started.
    setsid env -i "${environment[@]}" "${arguments[@]}" > >(exec python3 \
      scripts/stack/container_log.py "$part" "$PANGEA_STACK/containers/$part/$part-json.log") \
      2>&1 </dev/null &
    sed -i "s/^\\($part:[0-9]* [^ ]*\\) $pid\$/\\1 $!/" "$PANGEA_STACK/addresses"
    rm -f "$launched.ended"
    ;;
  *) usage ;;
esac
