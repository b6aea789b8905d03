#!/usr/bin/env bash
# The first process in the engine's namespaces: `engine-init.sh FOLDER CGROUP`.
set -euo pipefail
# Containers see what is mounted later, and this host, which has the other namespace, does not.
mount --make-rprivate /
mount --make-rshared /
ip link set lo up
# Instead of this host's settings, if it has any.
echo '{}' >"$1/docker/daemon.json"
exec docker-init -- dockerd --config-file "$1/docker/daemon.json" --host "unix://$1/docker.sock" \
  --data-root "$1/docker/data" --exec-root "$1/docker/exec" --pidfile "$1/docker/pid" \
  --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2"
