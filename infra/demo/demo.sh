#!/bin/sh
# Keeps training, one run after the other, so that dashboards show something. Each run has a seed of
# its own, counted from DEMO_SEED.
set -eu

examples=/usr/share/pangea/examples/digits
pause="${DEMO_PAUSE_SECONDS:-20}"
seed="${DEMO_SEED:-1}"

until pangea runs >/dev/null 2>&1; do sleep 1; done
pangea dataset show digits >/dev/null 2>&1 ||
  pangea dataset import "$examples/digits.csv" --label label --test-fraction 0.2 --seed 7
while true; do
  sed -e "s/^seed: .*/seed: $seed/" -e "s/^rounds: .*/rounds: ${DEMO_ROUNDS:-100}/" \
    "$examples/job.yaml" >/tmp/job.yaml
  # A run that fails is shown like any other; the next one begins all the same.
  pangea submit /tmp/job.yaml --watch || sleep "$pause"
  seed=$((seed + 1))
  sleep "$pause"
done
