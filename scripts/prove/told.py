"""What Alertmanager has told, by which ways, as the sink wrote it down."""

import json
import os
import pathlib
import time

FOLDER = pathlib.Path(os.environ["PROVE_DIR"])


def messages():
    """All messages so far; the last line may still be on its way."""
    lines = (FOLDER / "told").read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def by_webhook():
    """Each alert's last word at the webhook: (name, fingerprint) -> the alert."""
    last = {}
    for message in messages():
        if message["way"] == "webhook":
            for alert in message["message"]["alerts"]:
                last[alert["labels"]["alertname"], alert["fingerprint"]] = alert
    return last


def fired(since=0):
    """Names of alerts that began to fire since then, in seconds since 1970, as the webhook heard."""
    begun = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    return {
        alert["labels"]["alertname"]
        for message in messages() if message["way"] == "webhook"
        for alert in message["message"]["alerts"]
        if alert["status"] == "firing" and alert["startsAt"][:len(begun)] >= begun
    }


def firing():
    """Names of alerts whose last word is that they fire."""
    return {name for (name, _), alert in by_webhook().items() if alert["status"] == "firing"}


def ways():
    return {message["way"] for message in messages()}
