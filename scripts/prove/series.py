"""Which series a query names, and which somebody exports."""

import pathlib
import re

OURS = pathlib.Path("docs/metrics.md")
OTHERS = pathlib.Path("grafana/exporters.yaml")
RULES = pathlib.Path("infra/prometheus/rules")

WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right",
         "inf", "nan", "start", "end"}
NAME = r"(?<![\w:.])([A-Za-z_:][\w:]*)(?![\w:]|\s*\()"


def known():
    """Names by the catalogue, the list of others' series and the recording rules; a histogram by its three."""
    names = set()
    for row in OURS.read_text(encoding="utf-8").splitlines():
        if row.startswith("| `"):
            name, kind, *_ = [cell.strip() for cell in row.strip("| ").split(" | ")]
            also = re.search(r"Also as (`.*?`)\.", row)
            for each in [name, *(also[1].split(", ") if also else [])]:
                names |= of_kind(each.strip("`"), kind)
    for name, kind in re.findall(r"^  (\w+): (counter|gauge|histogram) ", OTHERS.read_text(encoding="utf-8"), re.M):
        names |= of_kind(name, kind)
    for file in RULES.glob("*.yml"):
        names |= set(re.findall(r"^ *(?:- )?record: (\S+)", file.read_text(encoding="utf-8"), re.M))
    return names


def of_kind(name, kind):
    return {name + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}


def unknown(query, names):
    """What `query` names that is not among `names`."""
    by_pattern = re.findall(r'__name__\s*=~\s*"([^"]*)"', query)
    without_match = [pattern for pattern in by_pattern if not any(re.fullmatch(pattern, name) for name in names)]
    bare = re.sub(r'"[^"]*"', '""', query)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return without_match + [name for name in re.findall(NAME, bare) if name not in names and name.lower() not in WORDS]
