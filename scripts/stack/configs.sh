# shellcheck shell=bash disable=SC2004,SC2034,SC2154 # variables are scripts/stack.sh's
#
# The stack's configuration files, as they are but for what a container gives and a process does
# not: names of hosts, ports of its own, folders.

# Names with ports, in whatever a file says, become addresses.
addresses() {
  local name expressions=()
  for name in "${!ports[@]}"; do
    expressions+=(-e "s#\\b$name\\b#127.0.0.1:${ports[$name]}#g")
  done
  sed "${expressions[@]}"
}

# What SERVICE listens at: 0.0.0.0:PORT, and `host:` with `port:` where a collector has it apart.
listens() { # service
  local name expressions=()
  for name in "${!ports[@]}"; do
    [[ "$name" == "$1":* ]] || continue
    expressions+=(-e "s#\\b0\\.0\\.0\\.0:${name#*:}\\b#127.0.0.1:${ports[$name]}#"
      -e "s#^\\( *port\\): ${name#*:}\$#\\1: ${ports[$name]}#"
      -e "s#^\\( *http_listen_port\\): ${name#*:}\$#\\1: ${ports[$name]}#"
      -e "s#^\\( *grpc_listen_port\\): ${name#*:}\$#\\1: ${ports[$name]}#")
  done
  sed "${expressions[@]}" -e 's#^\( *host\): 0\.0\.0\.0$#\1: 127.0.0.1#'
}

write_configs() {
  local names=() name
  # Targets keep their names, as `instance`; each is reached where it is, or dropped where it is not.
  for name in "${!ports[@]}"; do
    names+=("      - {source_labels: [__address__], regex: '$name', replacement: '127.0.0.1:${ports[$name]}', target_label: __address__}")
  done
  {
    echo '    relabel_configs:'
    echo '      - {source_labels: [__address__], target_label: instance}'
    printf '%s\n' "${names[@]}"
    echo "      - {source_labels: [__address__], regex: '127[.].+', action: keep}"
  } >"$dir/relabel"
  awk -v block="$dir/relabel" '
    /^    static_configs:/ { while ((getline line < block) > 0) print line; close(block) }
    { print }' prometheus.yml |
    sed -e "s#infra/prometheus/rules/#$PWD/&#" \
      -e "0,/alertmanager:9093/s#alertmanager:9093#127.0.0.1:${ports[alertmanager:9093]:-1}#" \
      -e "s#\\(scrape\\|evaluation\\)_interval: 15s#\\1_interval: ${STACK_SCRAPE_INTERVAL:-15s}#" \
      -e "s#scrape_timeout: 10s#scrape_timeout: ${STACK_SCRAPE_INTERVAL:-10s}#" \
      >"$dir/prometheus.yml"
  sed -e "s#/etc/alertmanager/secrets/#${STACK_SECRETS:-$PWD/infra/alertmanager/secrets}/#" \
    -e "s#^  - templates/#  - $PWD/infra/alertmanager/templates/#" \
    infra/alertmanager/alertmanager.yml >"$dir/alertmanager.yml"
  listens jaeger <infra/jaeger/config.yaml | addresses |
    sed "s#: /tmp/#: $dir/jaeger/#" >"$dir/jaeger.yaml"
  listens otel-collector <infra/otel-collector/config.yaml | addresses |
    sed -e "s#/var/lib/docker/containers#$dir/containers#" -e "s#/var/lib/otelcol#$dir/otelcol#" \
      >"$dir/otelcol.yaml"
  listens loki <infra/loki/config.yaml | sed "s#: /loki#: $dir/loki#" >"$dir/loki.yaml"
}
