"""Writes what the trial changes in docker-compose.yml: `override.py COMPOSE.json SERVICES FOLDER PROJECT`.

SERVICES has a service and where its image is from on each line; FOLDER is what images are made of.
"""

import json
import pathlib
import sys

compose = json.load(open(sys.argv[1]))["services"]
images = dict(line.split() for line in pathlib.Path(sys.argv[2]).read_text().splitlines())
folder, project = sys.argv[3:]
left_out = {name for name, image in images.items() if image == "out"}

lines = ["services:"]
for name, image in sorted(images.items()):
    lines.append(f"  {name}:")
    if image == "out":
        # No profile of this name is ever on.
        lines.append("    profiles: !override [left-out]")
    elif image == "made":
        build = {"context": folder, "target": name, "args": {"BASE_IMAGE": "${BASE_IMAGE}"}}
        lines.append(f"    image: {project}/{name}:made")
        lines.append(f"    build: {json.dumps(build)}")
    waits_for = compose[name].get("depends_on", {})
    if left_out & set(waits_for):
        kept = {other: how for other, how in waits_for.items() if other not in left_out}
        lines.append(f"    depends_on: !override {json.dumps(kept)}")
    if name == "orchestrator" and "localstack" in left_out:
        # Artifacts are then kept in its own volume, and tasks in its memory.
        settings = {"PANGEA_ORCHESTRATOR__ARTIFACTS__BUCKET": "", "PANGEA_ORCHESTRATOR__QUEUE__NAME": ""}
        lines.append(f"    environment: {json.dumps(settings)}")
    if lines[-1] == f"  {name}:":
        lines[-1] += " {}"
print("\n".join(lines))
