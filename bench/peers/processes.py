"""Processes of a measurement: their trees, their memory, and their end."""

import ctypes
import os
import pathlib
import signal
import socket
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
SECONDS_TO_END = 5
SECONDS_BETWEEN_LOOKS = 0.5


def adopt_orphans():
    """Makes this process the parent of what its children leave behind, so that all can be ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the system lets no process adopt orphans")
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def below(pid):
    """The ids of `pid`'s children, their children, and so on."""
    found, waiting = [], [pid]
    while waiting:
        try:
            threads = list(pathlib.Path(f"/proc/{waiting.pop()}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            try:
                children = [int(child) for child in (thread / "children").read_text().split()]
            except OSError:
                continue
            found += children
            waiting += children
    return found


def peak_memory(pid):
    """The most that `pid` has held so far, in bytes; 0 when it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


class MemoryWatch:
    """Adds the peaks of a process and of all below it up, from now to `end`."""

    def __init__(self, root):
        self.root = root
        self.peaks = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(SECONDS_BETWEEN_LOOKS):
            self.look()

    def look(self):
        for pid in (self.root, *below(self.root)):
            self.peaks[pid] = max(self.peaks.get(pid, 0), peak_memory(pid))

    def end(self):
        self.over.set()
        self.thread.join()
        self.look()
        return sum(self.peaks.values())


def end_all():
    """Ends every process below this one, and waits for them."""
    deadline = time.monotonic() + SECONDS_TO_END
    while left := below(os.getpid()):
        reason = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in left:
            try:
                os.kill(pid, reason)
            except ProcessLookupError:
                pass
        time.sleep(0.1)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def free_ports(count):
    """Ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(what, deadline, ready, alive=()):
    """Waits until `ready` yields something, while the processes in `alive` live."""
    while not (answer := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in time")
        for process in alive:
            if process.poll() is not None and not ready():
                raise RuntimeError(f"{what}: {process.args} ended with {process.returncode}")
        time.sleep(0.05)
    return answer


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
