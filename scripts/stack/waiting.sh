# shellcheck shell=bash disable=SC2004,SC2034,SC2154 # variables are scripts/stack.sh's
#
# Starting a part, waiting until it is well, and saying how it went.

# Runs a program in the background; what it prints goes where the collector reads.
launch() { # part, command…
  local part="$1" log="$dir/containers/$1/$1-json.log"
  shift
  mkdir -p "$dir/containers/$part" "$dir/launched"
  # How, for scripts/stack/part.sh.
  printf '%s\0' "$@" >"$dir/launched/$part.arguments"
  env -0 >"$dir/launched/$part.environment"
  started[$part]="$(date +%s%N)"
  "$@" > >(exec python3 scripts/stack/container_log.py "$part" "$log") 2>&1 </dev/null &
  pids[$part]=$!
  order+=("$part")
}

lines_of() { # part, how many
  sleep 0.2 # what it printed last is on its way
  tail -n "$2" "$dir/containers/$1/$1-json.log" |
    python3 -c 'import json, sys; [sys.stdout.write(json.loads(line)["log"]) for line in sys.stdin]'
}

# A part that ends, or is not well in time, ends the stack: half of one looks healthy and is not.
await() { # part, what must succeed…
  local part="$1" until=$((SECONDS + READY_SECONDS))
  shift
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "${pids[$part]}" 2>/dev/null; then
      echo "stack: $part ended; its last lines:" >&2
    elif ((SECONDS >= until)); then
      echo "stack: $part is not well after $READY_SECONDS s; its last lines:" >&2
    else
      sleep 0.05
      continue
    fi
    lines_of "$part" 20 >&2
    exit 1
  done
  ready[$part]="$((($(date +%s%N) - started[$part]) / 1000000))"
}

answers() { # name:port, path
  curl --silent --fail --output /dev/null --max-time 5 "http://127.0.0.1:${ports[$1]}$2"
}

# Until a part ends that nobody ended.
watch() {
  local part
  while sleep 1; do
    for part in "${order[@]}"; do
      [[ ! -e "$dir/launched/$part.ended" ]] || continue
      kill -0 "$(sed -n "s/^$part:.* //p" "$dir/addresses" | head -n 1)" 2>/dev/null && continue
      echo "stack: $part ended; its last lines:" >&2
      lines_of "$part" 10 >&2
      exit 1
    done
  done
}

memory_mib() { # part: the resident memory of it and all that it started
  local pid total=0 kib
  for pid in $(pgrep --pgroup "${pids[$1]}"); do
    if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q container_log.py; then continue; fi
    # Pages shared between processes count for each in its part.
    kib="$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null)" || continue
    total=$((total + ${kib:-0}))
  done
  echo "$((total / 1024))"
}

table() {
  local part name
  printf '%-20s %-26s %9s %8s\n' "stack: part" address "ready in" memory
  for part in "${order[@]}"; do
    name="$(main_port "$part")"
    printf '%-20s %-26s %6s ms %4s MiB\n' "$part" "127.0.0.1:${ports[$name]}" "${ready[$part]}" \
      "$(memory_mib "$part")"
  done
  for part in $(printf '%s\n' "${!left_out[@]}" | sort); do
    printf '%-20s left out: %s\n' "$part" "${left_out[$part]}"
  done
}
