"""What docs/troubleshooting.md has people ask the stack is answered."""

import pathlib
import re
import subprocess

from parts import addresses, check, say

PAGE = pathlib.Path("docs/troubleshooting.md")
PARTS = pathlib.Path("scripts/stack/programs.sh")


def names():
    """NAME:PORT of the compose file, by the port that people know."""
    table = PARTS.read_text().split('PORTS="\n')[1].split('"\n')[0]
    return {usual: name for name, _, usual in map(str.split, table.splitlines()) if usual != "-"}


def commands_answer():
    asked = re.findall(r"(?m)^ *(curl .*localhost:(\d+).*)$", PAGE.read_text())
    check(asked, f"{PAGE} asks nothing")
    here, known, left_out = addresses(), names(), 0
    for command, port in asked:
        check(port in known, f"{PAGE}: nothing listens at {port}: {command}")
        if known[port] not in here:
            left_out += 1
            continue
        command = command.replace(f"localhost:{port}", here[known[port]][0])
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 and done.stdout.strip(), f"{PAGE}: {command}: {done.stderr}{done.stdout}")
        check('"result":[]' not in done.stdout and '"data":[]' not in done.stdout,
              f"{PAGE}: {command} finds nothing: {done.stdout}")
    say(f"{len(asked) - left_out} requests of {PAGE} are answered; {left_out} are to parts that are left out")
