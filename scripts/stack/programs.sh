# shellcheck shell=bash disable=SC2004,SC2034,SC2154 # variables are scripts/stack.sh's
#
# Which parts there are, where each listens, and how its program is started.

# NAME:PORT in docker-compose.yml and the configuration files, then the variable of .env that has its
# port on this host and its usual value; `-` for one that no host needs to know.
PORTS="
orchestrator:8080 ORCHESTRATOR_HTTP_PORT 8080
orchestrator:50051 ORCHESTRATOR_GRPC_PORT 50051
compute-core:9091 COMPUTE_CORE_HTTP_PORT 9091
compute-core:50053 COMPUTE_CORE_GRPC_PORT 50053
training-worker-1:8081 WORKER_1_PORT 8081
training-worker-2:8081 WORKER_2_PORT 8082
training-worker-3:8081 WORKER_3_PORT 8083
postgres:5432 POSTGRES_PORT 5432
localstack:4566 LOCALSTACK_PORT 4566
prometheus:9090 PROMETHEUS_SERVER_PORT 9090
alertmanager:9093 ALERTMANAGER_PORT 9093
jaeger:16686 JAEGER_PORT 16686
jaeger:16685 - -
jaeger:4317 - -
jaeger:4318 - -
jaeger:8888 - -
jaeger:13133 - -
loki:3100 LOKI_PORT 3100
loki:9096 - -
otel-collector:4317 OTLP_GRPC_PORT 4317
otel-collector:4318 OTLP_HTTP_PORT 4318
otel-collector:8888 COLLECTOR_METRICS_PORT 8888
otel-collector:8889 - -
otel-collector:13133 - -
grafana:3000 GRAFANA_PORT 3000
cadvisor:8080 CADVISOR_PORT 8088
node-exporter:9100 NODE_EXPORTER_PORT 9100
postgres-exporter:9187 POSTGRES_EXPORTER_PORT 9187
"

declare -A started=()

# The first of a part's ports is the one that people ask for.
main_port() { # part
  sed -n "s/^\\($1:[0-9]*\\) .*/\\1/p" <<<"$PORTS" | head -n 1
}

choose_ports() { # free or usual
  local name variable usual port taken=()
  left_out[grafana]="no program of it can be had without its image; scripts/check-stack.sh reads its files"
  left_out[cadvisor]="there are no containers to watch"
  needs jaeger jaeger
  needs loki loki
  needs otel-collector otelcol
  needs prometheus prometheus
  needs alertmanager alertmanager
  needs node-exporter node_exporter
  needs postgres-exporter postgres_exporter
  needs postgres "$tools/postgresql/bin/postgres"
  [[ -e "$tools/localstack/wanted" ]] || left_out[localstack]="it is not there; \`make tools\` sets it up"
  if [[ -n "${left_out[postgres]:-}" ]]; then left_out[postgres-exporter]="there is no postgres"; fi
  while read -r name variable usual; do
    [[ -n "$name" && -z "${left_out[${name%:*}]:-}" ]] || continue
    if [[ "$1" == usual && "$variable" != - ]]; then
      port="$(setting "$variable" "$usual")"
      if listening "$port"; then taken+=("$port ($variable, for $name)"); fi
    else
      port="$(free_port)"
    fi
    ports[$name]="$port"
  done <<<"$PORTS"
  if ((${#taken[@]})); then
    printf 'stack: port %s is taken; end what listens there, or set another one in .env\n' \
      "${taken[@]}" >&2
    exit 1
  fi
}

needs() { # part, program
  command -v "$2" >/dev/null || left_out[$1]="$2 is not there; \`make tools\` sets it up"
}

runs() { # part
  [[ -z "${left_out[$1]:-}" ]]
}

listening() { # port
  (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Below the range from which the system hands out ports.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    listening "$port" || [[ " ${ports[*]} " == *" $port "* ]] || break
  done
  echo "$port"
}

start_backends() {
  local postgres="${ports[postgres:5432]:-}"
  if runs localstack; then
    launch localstack scripts/backends/localstack.sh "$dir/localstack" "${ports[localstack:4566]}"
  fi
  if runs postgres; then
    launch postgres scripts/backends/postgresql.sh "$dir/postgres" "$postgres" \
      -c shared_preload_libraries=pg_stat_statements
    await postgres pg_isready --quiet --host=127.0.0.1 --port="$postgres" --username=pangea
    export PGHOST=127.0.0.1 PGPORT="$postgres" PGUSER=pangea
    if ! psql --quiet --dbname=pangea --command='' 2>/dev/null; then
      createdb pangea
      POSTGRES_USER=pangea POSTGRES_DB=pangea infra/postgres/init.sh
    fi
  fi
}

start_monitoring() {
  if runs jaeger; then launch jaeger jaeger --config "$dir/jaeger.yaml"; fi
  if runs loki; then
    launch loki loki -config.file="$dir/loki.yaml" -config.expand-env=true \
      -server.http-listen-address=127.0.0.1 -server.grpc-listen-address=127.0.0.1
  fi
  if runs alertmanager; then
    launch alertmanager alertmanager --config.file="$dir/alertmanager.yml" \
      --storage.path="$dir/alertmanager" --cluster.listen-address= \
      --web.listen-address="127.0.0.1:${ports[alertmanager:9093]}"
  fi
  if runs node-exporter; then
    launch node-exporter node_exporter --web.listen-address="127.0.0.1:${ports[node-exporter:9100]}"
  fi
  if runs postgres-exporter; then
    DATA_SOURCE_URI="127.0.0.1:${ports[postgres:5432]}/pangea?sslmode=disable" \
      DATA_SOURCE_USER=exporter DATA_SOURCE_PASS=exporter \
      launch postgres-exporter postgres_exporter --collector.stat_statements \
      --collector.long_running_transactions --log.level=warn \
      --web.listen-address="127.0.0.1:${ports[postgres-exporter:9187]}"
  fi
  if runs node-exporter; then await node-exporter answers node-exporter:9100 /; fi
  if runs postgres-exporter; then await postgres-exporter answers postgres-exporter:9187 /; fi
  if runs alertmanager; then await alertmanager answers alertmanager:9093 /-/ready; fi
  if runs jaeger; then await jaeger answers jaeger:13133 /status; fi
  if runs loki; then await loki answers loki:3100 /ready; fi
  if runs otel-collector; then
    launch otel-collector otelcol --config="$dir/otelcol.yaml"
    await otel-collector answers otel-collector:13133 /
  fi
  if runs prometheus; then
    launch prometheus prometheus --config.file="$dir/prometheus.yml" \
      --storage.tsdb.path="$dir/prometheus" --storage.tsdb.retention.time=15d \
      --enable-feature=exemplar-storage --web.enable-lifecycle --web.enable-admin-api \
      --web.listen-address="127.0.0.1:${ports[prometheus:9090]}"
    await prometheus answers prometheus:9090 /-/ready
  fi
  if runs localstack; then
    await localstack answers localstack:4566 /_localstack/health
    AWS_ENDPOINT_URL="http://127.0.0.1:${ports[localstack:4566]}" \
      "$tools/localstack/bin/python" infra/localstack/init.py
  fi
}

# Before anything starts, since building may fail.
find_binaries() {
  local name
  binaries="${PANGEA_BINARIES:-${CARGO_TARGET_DIR:-target}/release}"
  [[ -n "${PANGEA_BINARIES:-}" ]] ||
    cargo build --release -p orchestrator -p compute-core -p training-worker -p pangea --bins
  for name in pangea-orchestrator pangea-compute-core pangea-training-worker; do
    if [[ ! -x "$binaries/$name" ]]; then
      echo "stack: $binaries has no $name; PANGEA_BINARIES must name a folder with all three" >&2
      exit 1
    fi
  done
}

start_services() {
  local n orchestrator="127.0.0.1:${ports[orchestrator:50051]}" compute="127.0.0.1:${ports[compute-core:50053]}"
  local backends=()
  if runs postgres; then
    backends+=("PANGEA_ORCHESTRATOR__STORE__URL=postgres://pangea@127.0.0.1:${ports[postgres:5432]}/pangea")
  fi
  if runs localstack; then
    backends+=("AWS_ENDPOINT_URL=http://127.0.0.1:${ports[localstack:4566]}" AWS_REGION=eu-west-2
      AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
      PANGEA_ORCHESTRATOR__ARTIFACTS__BUCKET=pangea PANGEA_ORCHESTRATOR__ARTIFACTS__PATH_STYLE=true
      PANGEA_ORCHESTRATOR__ARTIFACTS__CREATE=true
      PANGEA_ORCHESTRATOR__QUEUE__NAME=pangea-tasks PANGEA_ORCHESTRATOR__QUEUE__CREATE=true)
  fi
  unset PROMETHEUS_PORT # their metrics are where prometheus.yml has them
  export OTEL_LOGS_EXPORTER=none
  if runs otel-collector; then
    export OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:${ports[otel-collector:4317]}"
  fi
  PANGEA_COMPUTE_CORE__GRPC__LISTEN="$compute" \
    PANGEA_COMPUTE_CORE__HTTP__LISTEN="127.0.0.1:${ports[compute-core:9091]}" \
    PANGEA_COMPUTE_CORE__ENGINE__CACHE_MIB=64 \
    launch compute-core "$binaries/pangea-compute-core" --config config/compute-core.toml
  launch orchestrator env "PANGEA_ORCHESTRATOR__GRPC__LISTEN=$orchestrator" \
    "PANGEA_ORCHESTRATOR__HTTP__LISTEN=127.0.0.1:${ports[orchestrator:8080]}" \
    "PANGEA_ORCHESTRATOR__COMPUTE=$compute" "PANGEA_ORCHESTRATOR__DATA_DIR=$dir/orchestrator" \
    "${backends[@]}" "$binaries/pangea-orchestrator" --config config/orchestrator.toml
  await compute-core answers compute-core:9091 /ready
  await orchestrator answers orchestrator:8080 /ready
  for n in 1 2 3; do
    PANGEA_TRAINING_WORKER__ID="training-worker-$n" \
      PANGEA_TRAINING_WORKER__ORCHESTRATOR="$orchestrator" \
      PANGEA_TRAINING_WORKER__COMPUTE="$compute" \
      PANGEA_TRAINING_WORKER__HTTP__LISTEN="127.0.0.1:${ports[training-worker-$n:8081]}" \
      launch "training-worker-$n" "$binaries/pangea-training-worker" --config config/training-worker.toml
  done
  for n in 1 2 3; do
    await "training-worker-$n" answers "training-worker-$n:8081" /ready
  done
}

# For whoever uses the stack while it runs.
write_addresses() {
  local name variable
  for name in $(printf '%s\n' "${!ports[@]}" | sort); do
    echo "$name 127.0.0.1:${ports[$name]} ${pids[${name%:*}]}"
  done >"$dir/addresses"
  {
    echo "PANGEA_STACK=$dir"
    echo "PANGEA_SERVER=http://127.0.0.1:${ports[orchestrator:50051]}"
    while read -r variable name; do
      echo "$variable=${ports[$name]:+http://127.0.0.1:${ports[$name]}}"
    done <<<"ORCHESTRATOR_URL orchestrator:8080
PROMETHEUS_URL prometheus:9090
ALERTMANAGER_URL alertmanager:9093
JAEGER_URL jaeger:16686
LOKI_URL loki:3100
AWS_ENDPOINT_URL localstack:4566"
    echo "DATABASE_URL=${ports[postgres:5432]:+postgres://pangea@127.0.0.1:${ports[postgres:5432]}/pangea}"
  } >"$dir/environment"
}
