# shellcheck shell=bash disable=SC2154 # `dir`, `ports` and others are scripts/e2e-compose.sh's
#
# What is asked of the running stack, all of it from outside, at the published ports.

has() { # service
  [[ "${image_of[$1]}" != out ]]
}

get() { # name:port, path, argument of curl…
  local address="127.0.0.1:${ports[$1]}$2"
  shift 2
  at_host curl --silent --show-error --fail-with-body --max-time 10 --get "$@" "http://$address"
}

# Until it succeeds; the last answer is in $dir/said.
eventually() { # what is asked, command…
  local what="$1" until=$((SECONDS + SEEN_SECONDS))
  shift
  until "$@" >"$dir/said" 2>&1; do
    ((SECONDS < until)) || fail "$what is not so after $SEEN_SECONDS s: $(tail -c 500 "$dir/said")"
    sleep 1
  done
}

pangea() { # argument…
  at_host "$dir/pangea" --server "http://127.0.0.1:${ports[orchestrator:50051]}" "$@"
}

ask_services() {
  local name part metrics container
  for name in orchestrator:8080 compute-core:9091 training-worker-{1,2,3}:8081; do
    part="${name%:*}"
    get "$name" /health >"$dir/health" || fail "$part does not answer /health: $(<"$dir/health")"
    get "$name" /metrics >"$dir/metrics" || fail "$part does not answer /metrics"
    metrics="$(grep -c '^[a-z]' "$dir/metrics")"
    grep -q '^pangea_build_info{' "$dir/metrics" || fail "/metrics of $part does not say what was built"
    say "$part: /health 200, /metrics $metrics series"
  done
  # None of ours is root or can become it, and none can write to its own file system.
  for part in orchestrator compute-core training-worker-1; do
    container="$(compose ps --quiet "$part")"
    [[ "$(docker exec "$container" id -u)" == 10001 ]] || fail "$part does not run as user 10001"
    ! docker exec "$container" /bin/sh -c ': >/etc/written' 2>/dev/null || fail "$part can write to /etc"
    docker exec "$container" cat /proc/1/status >"$dir/status"
    grep -qE '^CapBnd:\s*0+$' "$dir/status" || fail "$part may get capabilities"
    grep -qE '^NoNewPrivs:\s*1$' "$dir/status" || fail "$part may get privileges"
  done
  docker cp --quiet "$(compose ps --quiet orchestrator):/usr/local/bin/pangea" "$dir/pangea"
}

train() { # name
  local state
  if [[ "$1" == first ]]; then
    pangea dataset import examples/digits/digits.csv --label label --test-fraction 0.2 --seed 7 >/dev/null
  fi
  pangea --output json submit examples/digits/job.yaml --watch >"$dir/$1.json" 2>"$dir/$1.log" || {
    tail -n 5 "$dir/$1.log" >&2
    fail "the $1 job did not train to its end"
  }
  pangea runs >"$dir/runs"
  state="$(sed -n 2p "$dir/runs")"
  say "the $1 job trained to its end: $state"
}

# Prometheus sees every service that runs; what the services print and trace arrives.
ask_watchers() {
  if has prometheus; then
    eventually "each target is up" targets_are_up
    say "Prometheus: $(<"$dir/said")"
  fi
  if has jaeger && has otel-collector; then
    eventually "Jaeger has traces of every service" traces
    say "Jaeger has traces of: $(<"$dir/said")"
  fi
  if has loki && has otel-collector; then
    eventually "Loki has lines of every service" lines
    say "Loki has lines of: $(<"$dir/said")"
  fi
}

targets_are_up() {
  get prometheus:9090 /api/v1/targets | python3 scripts/e2e/seen.py targets "$dir/services"
}

traces() {
  get jaeger:16686 /api/services | python3 scripts/e2e/seen.py services
}

lines() {
  get loki:3100 /loki/api/v1/label/service_name/values | python3 scripts/e2e/seen.py services
}

# What a new process of it knows, it has from PostgreSQL.
restart_orchestrator() {
  local before after container started_before
  container="$(compose ps --quiet orchestrator)"
  started_before="$(docker inspect --format '{{.State.StartedAt}}' "$container")"
  pangea --output json run latest | tail -n 1 >"$dir/before.json"
  before="$(facts)" || fail "PostgreSQL does not have what the orchestrator keeps"
  compose restart orchestrator >/dev/null 2>&1
  compose up --detach --no-build --no-deps --wait --wait-timeout "$UP_SECONDS" orchestrator >/dev/null 2>&1 ||
    fail "the orchestrator is not well after its container started again"
  [[ "$(docker inspect --format '{{.State.StartedAt}}' "$container")" != "$started_before" ]] ||
    fail "the orchestrator's container did not start again"
  pangea --output json run latest | tail -n 1 >"$dir/after.json"
  after="$(facts)" || fail "PostgreSQL does not have what the orchestrator keeps"
  cmp -s "$dir/before.json" "$dir/after.json" || fail "the run is another one after the restart"
  [[ "$before" == "$after" ]] || fail "PostgreSQL has $after, and had $before before the restart"
  say "after a restart, the orchestrator shows the same run; PostgreSQL has $after"
}

facts() {
  local table
  for table in runs rounds receipts models; do
    compose exec -T postgres psql --username="$(setting POSTGRES_USER pangea)" \
      --dbname="$(setting POSTGRES_DB pangea)" --tuples-only --no-align \
      --command="SELECT count(*) || ' $table' FROM $table"
  done | paste -sd, | sed 's/,/, /g'
}

# Each ends when it is told to, within its time, after it ran without a fall and in its memory.
stop_services() {
  local part code fell killed
  compose stop >/dev/null 2>&1
  for part in $(compose ps --all --format '{{.Service}}'); do
    read -r code fell killed < <(docker inspect \
      --format '{{.State.ExitCode}} {{.RestartCount}} {{.State.OOMKilled}}' "$(compose ps --all --quiet "$part")")
    [[ "$code" != 137 ]] || fail "$part did not end in its time, and was killed"
    [[ "$fell $killed" == "0 false" ]] || fail "$part fell and was started again $fell times; out of memory: $killed"
  done
  say "each container ended in its time; none fell, none ran out of memory"
}
