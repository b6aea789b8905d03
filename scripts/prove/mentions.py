"""Whether commands of `pangea` and `cargo xtask` that sentences of the pages name in passing are there.
They are not run. Targets of make, scripts and links are held by `make check`.
"""

import pathlib
import re
import subprocess

from parts import BINARIES


def known():
    """Word that a command begins with -> what may follow."""
    said = subprocess.run([BINARIES / "pangea", "help"], check=True, capture_output=True, text=True).stdout
    listed = said.partition("Commands:\n")[2].partition("\n\n")[0]
    code = pathlib.Path("xtask/src/main.rs").read_text(encoding="utf-8")
    chores = code.partition("enum Chore")[2].partition("\n}")[0]
    names = re.findall(r"^    ([A-Z]\w*)", chores, re.M)
    return {
        "pangea": set(re.findall(r"^  ([a-z]+) ", listed, re.M)),
        "cargo xtask": {re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower() for name in names},
    }


def strange(page, names):
    """Commands in the sentences of a page that do not exist."""
    sentences = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for quoted in re.findall(r"`([^`\n]+)`", sentences):
        command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", quoted)
        for begins, may_follow in names.items():
            found = re.match(rf"{begins} ([\w-]+)", command)
            if found and found[1] not in may_follow and not found[1].startswith("-"):
                yield quoted
