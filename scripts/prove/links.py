"""Whether what the pages link is there: files of the repository, and headings in them."""

import pathlib
import re


def headings(page):
    """The anchors of a page, as GitHub makes them of its headings."""
    lines = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def broken(page):
    """Targets that the page links and that are not there."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for target in targets:
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        if not linked.exists() or anchor and anchor not in headings(pathlib.Path(linked)):
            yield target
