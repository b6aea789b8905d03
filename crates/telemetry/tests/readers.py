"""Reads two files, text and OpenMetrics, as Python's prometheus_client does; prints what it read."""

import json
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as open_metrics


def families(read, path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return [
        {
            "name": family.name,
            "type": family.type,
            "unit": family.unit,
            "help": family.documentation,
            "samples": [sample(*s) for s in family.samples],
        }
        for family in read(text)
    ]


def sample(name, labels, value, timestamp=None, exemplar=None, *_):
    # JSON has no infinity.
    told = {"name": name, "labels": labels, "value": repr(float(value))}
    if exemplar:
        told["exemplar"] = {"labels": exemplar.labels, "value": exemplar.value}
    return told


print(
    json.dumps(
        {
            "text": families(parser.text_string_to_metric_families, sys.argv[1]),
            "open_metrics": families(
                open_metrics.text_string_to_metric_families, sys.argv[2]
            ),
        }
    )
)
