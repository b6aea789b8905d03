"""When the rounds of a server started, and what it reports at the end."""

import json
import time


class Stopwatch:
    """Times between one round's start and the next one's, or the end."""

    def __init__(self, clients):
        self.clients = clients
        self.times = []

    def note(self):
        self.times.append(time.monotonic())

    def count(self, results):
        """Refuses a round that lacks some clients: it would seem fast."""
        if results != self.clients:
            raise RuntimeError(f"a round had {results} results from {self.clients} clients")

    def write(self, path, accuracy):
        """Leaves the report at `path`, whole or not at all."""
        seconds = [after - before for before, after in zip(self.times, self.times[1:])]
        leave(path, {"seconds": seconds, "accuracy": accuracy})


def leave(path, report):
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(report))
    unfinished.rename(path)
