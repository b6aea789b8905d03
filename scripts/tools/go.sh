# shellcheck shell=bash disable=SC2154 # `tools` and `report` are scripts/tools.sh's
#
# Programs that are to be had as Go modules alone. The first build of each takes minutes; what it
# downloads and compiles is thrown away afterwards.

GRPCURL=1.9.3
# Debian's would look for its templates in /usr/share.
ALERTMANAGER=0.34.0
JAEGER=2.13.0
# Jaeger 1 and 2 are made of one source, and only the tag of Jaeger 1 is a version to Go.
JAEGER_MODULE=github.com/jaegertracing/jaeger@v1.76.0
LOKI=3.7.7
# Loki's source takes this module from a folder that its own module does not have.
LOKI_PUSH=github.com/grafana/loki/pkg/push

COLLECTOR_MANIFEST=infra/otel-collector/builder.yaml

go_programs() {
  local collector
  collector="$(sed -n 's/^  version: //p' "$COLLECTOR_MANIFEST")"
  go_program grpcurl "$GRPCURL" build_grpcurl
  go_program amtool "$ALERTMANAGER" build_alertmanager
  go_program alertmanager "$ALERTMANAGER" build_alertmanager
  go_program jaeger "$JAEGER" build_jaeger
  go_program otelcol "$collector" build_collector "$(grep -v '^ *#' "$COLLECTOR_MANIFEST" | sha256sum | cut -c1-12)"
  go_program loki "$LOKI" build_loki
  # Go makes what it downloads read-only.
  if [[ -d "$tools/go" ]]; then chmod -R u+w "$tools/go" && rm -rf "$tools/go"; fi
}

# A program that Go built may not know its own version, so a file beside it says what it is.
go_program() { # program, version, what builds it into $tools/go/bin, what else it was made of
  local program="$1" name="$1 $2" wanted="$2${4:+ $4}" log="$tools/$1.log"
  if [[ -x "$tools/bin/$program" && "$(cat "$tools/bin/$program.version" 2>/dev/null)" == "$wanted" ]]; then
    report "$name" "there"
  elif ! command -v go >/dev/null; then
    report "$name" "left out: go is not there"
  else
    report "$name" "building; this takes minutes"
    if go_build "$3" "$2" >"$log" 2>&1; then
      mv "$tools/go/bin/$program" "$tools/bin/$program"
      echo "$wanted" >"$tools/bin/$program.version"
      rm "$log"
      report "$name" "built"
    else
      report "$name" "left out: $(go version | cut -d' ' -f3) could not build it; see $log"
    fi
  fi
}

# In a shell of its own, where a failing command ends it, and at low priority.
go_build() { # what builds, version
  export -f go_source build_grpcurl build_alertmanager build_jaeger build_collector build_loki
  export JAEGER_MODULE LOKI_PUSH COLLECTOR_MANIFEST
  local go="$tools/go"
  mkdir -p "$go/bin"
  env "GOMODCACHE=$go/mod" "GOCACHE=$go/cache" "GOBIN=$go/bin" CGO_ENABLED=0 GOWORK=off \
    "GOFLAGS=-modcacherw -trimpath -buildvcs=false -ldflags=-s" \
    nice -n 10 bash -euc "$1 $2 $go"
}

# A module's source as a main module: its `replace` lines hold there alone.
go_source() { # module@version, folder
  local from
  from="$(go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
  rm -rf "$2"
  cp -r "$from" "$2"
  chmod -R u+w "$2"
  cd "$2" || return
}

build_grpcurl() { # version, scratch
  go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$1"
}

build_alertmanager() { # version, scratch
  go_source "github.com/prometheus/alertmanager@v$1" "$2/alertmanager"
  # Its pages are built by another tool, and only its API is asked here.
  mkdir -p ui/app/dist
  echo "alertmanager $1" >ui/app/dist/index.html
  go build -ldflags "-s -w -X github.com/prometheus/common/version.Version=$1" -o "$2/bin/" \
    ./cmd/alertmanager ./cmd/amtool
}

build_jaeger() { # version, scratch
  go_source "$JAEGER_MODULE" "$2/jaeger"
  go build -ldflags "-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=v$1" \
    -o "$2/bin/jaeger" ./cmd/jaeger
}

build_collector() { # version, scratch
  go run "go.opentelemetry.io/collector/cmd/builder@v$1" --config "$COLLECTOR_MANIFEST" \
    --skip-compilation --output-path="$2/otelcol"
  cd "$2/otelcol" || return
  go build -o "$2/bin/otelcol" .
}

build_loki() { # version, scratch
  go_source "github.com/grafana/loki/v3@v$1" "$2/loki"
  go mod edit -dropreplace "$LOKI_PUSH"
  go build -mod=mod -ldflags "-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version=$1" \
    -o "$2/bin/loki" ./cmd/loki
}
