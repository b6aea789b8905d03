# shellcheck shell=bash disable=SC2154 # `tools` is scripts/tools.sh's
#
# The programs around the services that Debian has, in $tools/bin.

# program, package, path in the package
MONITORING=(
  "prometheus prometheus usr/bin/prometheus"
  "promtool promtool usr/bin/promtool"
  "node_exporter prometheus-node-exporter usr/bin/prometheus-node-exporter"
  "postgres_exporter prometheus-postgres-exporter usr/bin/prometheus-postgres-exporter"
  "docker-compose docker-compose usr/libexec/docker/cli-plugins/docker-compose"
)

monitoring() {
  debian_programs "$tools/bin" "${MONITORING[@]}"
}
