"""Holds the stack's files against each other: `check.py COMPOSE.json RAW.json MONITORING.json`, the
second one not interpolated, the third of infra/docker-compose.monitoring.yml. Prints everything that
does not fit; the status is 1 when something does not.
"""

import json
import pathlib
import re
import sys

compose = json.load(open(sys.argv[1]))
raw = json.load(open(sys.argv[2]))
monitoring = json.load(open(sys.argv[3]))
services = compose["services"]
faults = []

# Ports that other containers reach and nobody else: no file of the stack publishes them.
INSIDE = {"otel-collector-datadog:4317", "otel-collector-newrelic:4317"}
# What .env may set besides the variables of docker-compose.yml: compose itself and `aws` read these.
BESIDES = {"COMPOSE_PROFILES", "LOCALSTACK_ENDPOINT_URL"}
DATA_SOURCES = {"prometheus", "loki", "jaeger"}


def check(holds, fault):
    if not holds:
        faults.append(fault)


def text(path):
    return pathlib.Path(path).read_text()


def known_ports():
    table = text("scripts/stack/programs.sh").split('PORTS="\n')[1].split('"\n')[0]
    rows = [line.split() for line in table.splitlines()]
    published = {
        f"{name}:{port['target']}": port["published"]
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    for address, variable, usual in rows:
        if variable == "-":
            continue
        check(published.get(address) == usual,
              f"programs.sh has {address} at {usual}, docker-compose.yml at {published.get(address)}")
    return INSIDE | set(published) | {row[0] for row in rows}


def addresses_are_known(known):
    """Every NAME:PORT in a configuration file is a service and a port of it."""
    files = ["prometheus.yml", *map(str, sorted(pathlib.Path("infra").glob("*/*.y*ml"))),
             *map(str, sorted(pathlib.Path("infra").glob("*/*.conf"))),
             *map(str, sorted(pathlib.Path("grafana/provisioning").rglob("*.yaml")))]
    for file in files:
        for line in text(file).splitlines():
            if line.lstrip().startswith("#"):
                continue
            for name, port in re.findall(r"(?<![\w./-])([a-z][a-z0-9-]*):(\d{2,5})\b", line):
                if name in ("localhost", "http", "https"):
                    continue
                check(f"{name}:{port}" in known, f"{file} speaks of {name}:{port}, which no service is")


def services_are_bounded():
    for name, service in services.items():
        check("healthcheck" in service, f"{name} has no health check")
        check("mem_limit" in service, f"{name} has no memory limit")
        check(service.get("restart") == "unless-stopped", f"{name} is not started again")
        options = service.get("logging", {}).get("options", {})
        check(options.get("labels") == "com.docker.compose.service", f"{name}'s lines have no name")
        tag = service["image"].rpartition(":")[2]
        check(re.match(r"v?\d+\.\d+", tag), f"{name}'s image has no fixed version: {service['image']}")
        for port in service.get("ports", []):
            check(port.get("host_ip") == "127.0.0.1", f"{name} listens beyond this host")
        for other, how in service.get("depends_on", {}).items():
            check(how["condition"] == "service_healthy", f"{name} does not wait until {other} is well")
        for mount in service.get("volumes", []):
            source = pathlib.Path(mount.get("source", ""))
            if mount["type"] == "bind" and source.is_relative_to(pathlib.Path.cwd()):
                made_later = source.name in ("dashboards", "rules", "alertmanager")
                check(source.exists() or made_later, f"{name} mounts {source}, which is not there")


def variables_are_listed():
    """.env.example has every variable of docker-compose.yml, with the value that holds without it."""
    listed = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", text(".env.example"), re.M))
    used = {}
    source = json.dumps(raw, ensure_ascii=False) + text("docker-compose.yml")
    for name, otherwise in re.findall(r"\$\{([A-Z][A-Z0-9_]*)(?::?-([^}]*))?", source):
        used.setdefault(name, otherwise)
    for name, otherwise in sorted(used.items()):
        check(name in listed, f".env.example does not list {name}")
        if name in listed:
            check(listed[name].strip('"') == otherwise,
                  f"{name} is {listed[name]} in .env.example and {otherwise} in docker-compose.yml")
    for name in sorted(set(listed) - set(used) - BESIDES):
        check(False, f".env.example lists {name}, which docker-compose.yml does not read")


def variables_are_explained():
    """A page explains every variable of .env.example: by its name, or by `…_END` or `BEGIN_…` for all that are so."""
    page = text("docs/configuration.md")
    names = set(re.findall(r"^([A-Z][A-Z0-9_]*)=", text(".env.example"), re.M))
    said = set(re.findall(r"`([A-Z0-9_…]+)`", page.partition("## The stack")[2]))
    patterns = {word: re.compile(re.escape(word).replace("…", "[A-Z0-9_]+")) for word in said}
    for name in sorted(names):
        check(any(pattern.fullmatch(name) for pattern in patterns.values()),
              f"docs/configuration.md does not explain {name} of .env.example")


def names_agree():
    """The names that several files have to know."""
    init = text("infra/localstack/init.py")
    settings = services["orchestrator"]["environment"]
    for variable, key in (("PANGEA_BUCKET", "ARTIFACTS__BUCKET"), ("PANGEA_QUEUE", "QUEUE__NAME"),
                          ("PANGEA_QUEUE_MAX_DELIVERIES", "QUEUE__MAX_DELIVERIES")):
        wanted = settings[f"PANGEA_ORCHESTRATOR__{key}"]
        check(re.search(rf'"{variable}"\) or "{re.escape(wanted)}"', init),
              f"infra/localstack/init.py does not make {wanted}")
    built = re.search(r"^  version: (.+)$", text("infra/otel-collector/builder.yaml"), re.M)[1]
    image = re.search(r"^ARG COLLECTOR_IMAGE=.*:(.+)$", text("infra/otel-collector/Dockerfile"), re.M)[1]
    arguments = services["otel-collector"]["build"]["args"]["COLLECTOR_IMAGE"]
    check(arguments.endswith(f":{image}") and image == built,
          f"the collector is {built} in builder.yaml, {image} in its Dockerfile, {arguments} in compose")


def dashboards_find_their_sources():
    sources = text("grafana/provisioning/datasources/pangea.yaml")
    uids = set(re.findall(r"^    uid: (\S+)$", sources, re.M))
    check(uids == DATA_SOURCES, f"data sources are {sorted(uids)}, wanted {sorted(DATA_SOURCES)}")
    for uid in re.findall(r"(?i)datasourceUid: (\S+)", sources):
        check(uid in uids, f"a data source links {uid}, which is none")
    folder = re.search(r"path: (\S+)", text("grafana/provisioning/dashboards/pangea.yaml"))[1]
    mounts = {mount["target"]: mount.get("source", "") for mount in services["grafana"]["volumes"]}
    check(mounts.get(folder, "").endswith("grafana/dashboards"), f"Grafana has no dashboards in {folder}")
    for path in sorted(pathlib.Path("grafana/dashboards").glob("*.json")):
        for uid in set(re.findall(r'"datasource": *\{[^}]*"uid": *"([^"$]+)"', path.read_text())):
            check(uid in uids | {"-- Grafana --", "grafana", "-- Mixed --"}, f"{path} asks {uid}, which is none")
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if any(pathlib.Path("grafana/dashboards").glob("*.json")):
        there = pathlib.Path("grafana/dashboards") / pathlib.Path(home).name
        check(there.exists(), f"Grafana's first page {there} is not there")


def monitoring_is_the_same():
    """The parts that watch are one set, from whichever file they are started."""
    watched = set(re.findall(r"(?m)^    extends: \{file: \.\./docker-compose\.yml, service: (\S+)\}$",
                             text("infra/docker-compose.monitoring.yml")))
    check(watched == set(monitoring["services"]),
          "infra/docker-compose.monitoring.yml has parts that are not those of docker-compose.yml")
    for name, service in monitoring["services"].items():
        check(service == services.get(name), f"infra/docker-compose.monitoring.yml starts another {name}")
    check(monitoring["name"] == compose["name"], "infra/docker-compose.monitoring.yml is another project")


def pages_name_what_there_is():
    """Targets of make, scripts, services and links in docs. Runbooks are `cargo xtask alerts`'s to read."""
    targets = set(re.findall(r"(?m)^([a-z0-9-]+):", text("Makefile")))
    for page in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md"))]:
        said = page.read_text()
        code = "\n".join(re.findall(r"```sh\n(.*?)```", said, re.S) + re.findall(r"`([^`\n]+)`", said))
        for target in re.findall(r"(?m)(?:^|\s)make ([a-z0-9-]+)", code):
            check(target in targets, f"{page} says `make {target}`, which the Makefile has not")
        for script in re.findall(r"(?<![\w/])scripts/[\w./-]+\w", code):
            check(pathlib.Path(script).exists(), f"{page} names {script}, which is not there")
        for words in re.findall(r"docker compose (?:logs|exec|restart|ps) ([^\n#|]+)", code):
            name = next((word for word in words.split() if word in services), None)
            named = [word for word in words.split() if not word.startswith("-")]
            check(name or "NAME" in words or not named, f"{page} names no service in `docker compose … {words}`")
        for link in re.findall(r"\]\((?!https?:)([^)\s]*)\)", said):
            path, _, anchor = link.partition("#")
            there = page.parent / path if path else page
            check(there.exists(), f"{page} links {link}, which is not there")
            if anchor and there.is_file():
                check(anchor in anchors(there.read_text()), f"{page} links {link}, a heading that is not there")


def anchors(page):
    headings = re.findall(r"(?m)^#+ (.+)$", page)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


addresses_are_known(known_ports())
services_are_bounded()
variables_are_listed()
variables_are_explained()
names_agree()
dashboards_find_their_sources()
monitoring_is_the_same()
pages_name_what_there_is()
for fault in faults:
    print(f"check-stack: {fault}", file=sys.stderr)
sys.exit(bool(faults))
