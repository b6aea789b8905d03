# shellcheck shell=bash disable=SC2154 # `dir`, `tools` and `skip` are scripts/e2e-compose.sh's
#
# The Docker engine: the one that answers, or else one of our own, which is root's, in namespaces of
# its own for processes, mounts and network. So its bridges, rules, mounts and containers end with its
# first process, and no port of this host is taken.

ENGINE_SECONDS=60
ENGINE_MIB=4096 # what images, layers and data may take; they take about half

engine=      # the process that holds the namespaces, when the engine is our own
engine_pid=  # the first process in them

find_engine() {
  if docker info >/dev/null 2>&1; then
    say "Docker $(docker info --format '{{.ServerVersion}}') answers; it is used, and goes on running"
    return
  fi
  local program left
  [[ "$(uname -s)" == Linux ]] || skip "no Docker engine answers, and one can be started on Linux alone"
  [[ "$(id -u)" == 0 ]] || skip "no Docker engine answers, and only root can start one"
  for program in unshare nsenter setpriv mount ip; do
    command -v "$program" >/dev/null || skip "no Docker engine answers, and $program, to start one, is not there"
  done
  left="$(df --output=avail --block-size=M "$dir" | tail -n 1 | tr -dc 0-9)"
  ((left >= ENGINE_MIB)) || skip "images may take $ENGINE_MIB MiB, and $dir has $left MiB left"
  scripts/tools.sh containers
  for program in dockerd docker containerd runc docker-init iptables; do
    [[ -x "$tools/containers/bin/$program" ]] || skip "no Docker engine answers, and $program cannot be had"
  done
  start_engine
}

start_engine() {
  local until=$((SECONDS + ENGINE_SECONDS))
  export PATH="$tools/containers/bin:$PATH" DOCKER_HOST="unix://$dir/docker.sock"
  unset DOCKER_CONTEXT
  mkdir "$dir/docker"
  # It dies with this script, however this ends, and everything in its namespaces with it.
  setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child=KILL --mount-proc \
    scripts/e2e/engine-init.sh "$dir" "$cgroup" >"$dir/engine.log" 2>&1 </dev/null &
  engine=$!
  until docker info >/dev/null 2>&1; do
    if ! kill -0 "$engine" 2>/dev/null || ((SECONDS >= until)); then
      tail -n 5 "$dir/engine.log" >&2
      skip "the Docker engine does not start here; its last lines are above"
    fi
    sleep 0.2
  done
  engine_pid="$(pgrep --parent "$engine")"
  say "Docker $(docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup {{.CgroupVersion}}') started, in namespaces of its own"
}

# Where ports that containers publish can be reached.
at_host() { # command…
  if [[ -n "$engine_pid" ]]; then
    nsenter --target "$engine_pid" --net "$@"
  else
    "$@"
  fi
}

stop_engine() {
  [[ -n "$engine" ]] || return 0
  local until=$((SECONDS + 20)) folder
  [[ -z "$engine_pid" ]] || kill -TERM "$engine_pid" 2>/dev/null
  while kill -0 "$engine" 2>/dev/null && ((SECONDS < until)); do sleep 0.1; done
  kill -KILL "$engine" 2>/dev/null
  wait "$engine" 2>/dev/null
  # Groups outlive what was in them, the deepest ends first.
  for folder in /sys/fs/cgroup/"$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
    [[ ! -d "$folder" ]] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
  done
  engine=
}
