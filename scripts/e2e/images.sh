# shellcheck shell=bash disable=SC2154 # `dir`, `engine`, `tools`, `say` and `skip` are scripts/e2e-compose.sh's
#
# Which image each service gets: the one of docker-compose.yml where it can be pulled; else one that is
# made of Debian's packages and of the programs of `make tools`; else none, and the service is left out.

# service, program in $tools/bin that an image is made of
PROGRAMS="
prometheus prometheus
alertmanager alertmanager
node-exporter node_exporter
postgres-exporter postgres_exporter
jaeger jaeger
loki loki
"

declare -A image_of=() # service: real, made, or out

can_have() { # image
  docker image inspect "$1" >/dev/null 2>&1 ||
    { [[ -z "$engine" ]] && timeout 600 docker pull --quiet "$1" >/dev/null 2>&1; }
}

# Fetched when they are wanted first.
roots() {
  [[ -s "$tools/containers/suite" ]] || scripts/tools.sh containers
  [[ -s "$tools/containers/suite" ]] ||
    skip "no image can be pulled, and no root can be made with debootstrap, to make others of"
}

made() { # name
  echo "$project/$1:made"
}

choose_images() {
  local service image program context="$dir/images"
  mkdir -p "$context/bin" "$context/empty"
  cp scripts/e2e/stand-ins.Dockerfile "$context/Dockerfile"
  cp scripts/e2e/postgres-entrypoint.sh "$context/"
  choose_base
  while read -r service image; do
    case "$service" in
      orchestrator | compute-core | training-worker-*) image_of[$service]=ours ;;
      otel-collector) choose_collector ;;
      *)
        program="$(awk -v service="$service" '$1 == service { print $2 }' <<<"$PROGRAMS")"
        if can_have "$image"; then
          image_of[$service]=real
        elif [[ -n "$program" && -x "$tools/bin/$program" ]]; then
          image_of[$service]=made
          cp "$tools/bin/$program" "$context/bin/"
        elif [[ "$service" == postgres ]]; then
          image_of[$service]=made
        else
          image_of[$service]=out
          say "left out: $service, because $image cannot be pulled, and none can be made here"
        fi
        ;;
    esac
  done < <(scripts/compose.sh config --format json | python3 -c '
import json, sys
for name, service in json.load(sys.stdin)["services"].items():
    print(name, service["image"])')
  if [[ " ${image_of[*]} " == *" made "* ]]; then
    roots
    cp "$tools/containers/bin/busybox" "$context/bin/"
    cp "$tools/containers/postgres.tar.gz" "$context/"
  fi
  for service in "${!image_of[@]}"; do
    echo "$service ${image_of[$service]}"
  done | sort >"$dir/services"
  choose_binaries
}

choose_base() {
  BASE_IMAGE="$(setting BASE_IMAGE debian:bookworm-slim)"
  if ! can_have "$BASE_IMAGE"; then
    roots
    BASE_IMAGE="$(made debian)"
    docker import "$tools/containers/debian.tar.gz" "$BASE_IMAGE" >/dev/null
    say "made: the base of images, by debootstrap of $(<"$tools/containers/suite")"
  fi
  export BASE_IMAGE
}

choose_collector() {
  COLLECTOR_IMAGE="$(setting COLLECTOR_IMAGE "$(sed -n 's/^ARG COLLECTOR_IMAGE=//p' infra/otel-collector/Dockerfile)")"
  if can_have "$COLLECTOR_IMAGE"; then
    image_of[otel-collector]=ours
  elif [[ -x "$tools/bin/otelcol" ]]; then
    image_of[otel-collector]=ours
    COLLECTOR_IMAGE="$(made collector)"
    import "$COLLECTOR_IMAGE" "$tools/bin/otelcol:otelcol-contrib" \
      /etc/ssl/certs/ca-certificates.crt:etc/ssl/certs/ca-certificates.crt
  else
    image_of[otel-collector]=out
    say "left out: otel-collector, because $COLLECTOR_IMAGE cannot be pulled, and otelcol is not there"
  fi
  export COLLECTOR_IMAGE
}

# Binaries that were built outside, unless the image can be built as a whole.
choose_binaries() {
  local name parts=() binaries="${PANGEA_BINARIES:-}"
  if [[ -z "$binaries" ]] && can_have "$(setting BUILDER_IMAGE rust:1.95-slim-bookworm)"; then
    say "our image is built from source"
    return
  fi
  if [[ -z "$binaries" ]]; then
    cargo build --release -p orchestrator -p compute-core -p training-worker -p pangea --bins
    binaries="${CARGO_TARGET_DIR:-target}/release"
  fi
  for name in pangea pangea-orchestrator pangea-compute-core pangea-training-worker; do
    [[ -x "$binaries/$name" ]] || fail "$binaries has no $name; PANGEA_BINARIES must name a folder with all four"
    parts+=("$binaries/$name:out/bin/$name")
  done
  BINARIES="$(made binaries)"
  export BINARIES
  import "$BINARIES" "${parts[@]}" "$dir/images/empty:out/data" \
    /etc/ssl/certs/ca-certificates.crt:out/certs/ca-certificates.crt
  say "our image gets the binaries of $binaries; the stages that compile are not run"
}

# An image of nothing but some files, without what only a debugger reads.
import() { # image, FILE:PATH…
  local image="$1" part to="$dir/import"
  shift
  for part in "$@"; do
    mkdir -p "$to/$(dirname "${part#*:}")"
    cp -r "${part%%:*}" "$to/${part#*:}"
    strip "$to/${part#*:}" 2>/dev/null || true
  done
  tar --create --directory "$to" --owner 0 --group 0 . | docker import - "$image" >/dev/null
  rm -rf "$to"
}
