#!/usr/bin/env bash
# Tells a real server of Sentry's protocol (bugsink, from PyPI) of an error and a panic, and looks
# there for what arrived. Everything stays in a temporary directory.
set -euo pipefail

VERSION=2.6.1
SECRET=correct-horse-battery
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
server=
end() {
    if [ -n "$server" ]; then kill "$server" && wait "$server" || true; fi
    rm -rf "$dir"
}
trap end EXIT

cargo build --quiet -p telemetry --example tell_errors
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "bugsink==$VERSION"
export PATH="$dir/venv/bin:$PATH" PYTHONPATH="$dir" PYTHONWARNINGS=ignore

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
repository=$PWD
cd "$dir"
bugsink-create-conf --template=local --host=127.0.0.1 --port="$port" >"$dir/log" 2>&1
bugsink-manage migrate >>"$dir/log" 2>&1
bugsink-manage migrate snappea --database=snappea >>"$dir/log" 2>&1
dsn=$(bugsink-manage shell -v 0 -c '
from projects.models import Project
print(Project.objects.create(name="pangea").dsn)' | tail -n 1)

gunicorn --bind "127.0.0.1:$port" --workers 1 bugsink.wsgi >>"$dir/log" 2>&1 &
server=$!
curl --silent --output /dev/null --retry 50 --retry-delay 1 --retry-connrefused --retry-max-time 50 \
    "http://127.0.0.1:$port/" || { cat "$dir/log"; exit 1; }

trace=$("$repository/target/debug/examples/tell_errors" "$dsn" "$SECRET" 2>"$dir/told")
export TRACE=$trace SECRET
bugsink-manage shell -v 0 -c '
import json, os, sys
from events.models import Event

def told(kind):
    for event in events:
        if kind(event):
            return event
    sys.exit("missing among: %s" % json.dumps(events, indent=1))

events = [event.get_parsed_data() for event in Event.objects.order_by("digest_order")]
error = told(lambda event: "round lost" in json.dumps(event.get("message") or event.get("logentry")))
panic = told(lambda event: "exception" in event)
for event in (error, panic):
    tags = dict(event["tags"])
    assert tags["trace_id"] == os.environ["TRACE"], tags
    assert tags["service"] == "example", tags
    assert event["release"] == "example@1" and event["environment"] == "example", event
    assert "server_name" not in event, event
    assert os.environ["SECRET"] not in json.dumps(event), event
crumbs = [crumb["message"] for crumb in error["breadcrumbs"]["values"]]
assert crumbs == ["round opened"], crumbs
assert panic["exception"]["values"][0]["value"] == "broke with [scrubbed]", panic["exception"]
print("bugsink has %d events of trace %s, with breadcrumbs and without secrets" % (len(events), os.environ["TRACE"]))
'
