"""What the pages tell a reader to type: commands in `sh` fences and queries in `promql` fences."""

import fnmatch
import pathlib
import re

PAGES = [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md")),
         *sorted(pathlib.Path("docs/runbooks").glob("*.md"))]
NOT_RUN = pathlib.Path("scripts/prove/not-run.txt")

# Other words for `sh`, under which a command would not be found.
ALIASES = {"bash", "shell", "console", "zsh"}


def fences(language, page):
    """(line number, text) of each command or query, a line each unless a backslash goes on with it."""
    opened, begun, text = None, 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            opened = None if opened is not None else line.strip()[3:]
            continue
        if opened != language or not (text or line.strip()) or line.startswith("#"):
            continue
        begun = begun or number
        text += line.strip()
        if text.endswith("\\"):
            text = text[:-1]
        else:
            yield begun, text
            begun, text = 0, ""


def misnamed(page):
    """Lines that open a fence of commands by another name than `sh`."""
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    return [number for number, line in lines if re.sub(r"^\s*```", "", line) in ALIASES]


def commands():
    return [(page, number, text) for page in PAGES for number, text in fences("sh", page)]


def queries():
    return [(page, number, text) for page in PAGES for number, text in fences("promql", page)]


def without_comment(command):
    return re.sub(r"\s+# .*$", "", command).strip()


class NotRun:
    """The committed list: a reason in a comment, then commands to which it applies; `*` is anything."""

    def __init__(self):
        self.reasons, self.used, reason = {}, set(), ""
        for line in NOT_RUN.read_text(encoding="utf-8").split("\n\n", 1)[1].splitlines():
            if line.startswith("# "):
                reason = line[2:]
            elif line.strip():
                self.reasons[line] = reason

    def reason(self, command):
        command = without_comment(command)
        for pattern, reason in self.reasons.items():
            if fnmatch.fnmatchcase(command, pattern.replace("[", "[[]")):
                self.used.add(pattern)
                return reason
        return None

    def stale(self):
        return [pattern for pattern in self.reasons if pattern not in self.used]
