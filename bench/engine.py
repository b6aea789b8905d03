"""Training: what of the processor's products it takes, and beside PyTorch."""

import alternate
from house import ROOT

# The bench's name of each model, PyTorch's, and the batch.
CASES = [("mlp 784-512-256-10", "mlp", 64), ("mlp 784-512-256-10", "mlp", 256),
         ("cnn 28x28 32-64-128-10", "cnn", 64), ("cnn 28x28 32-64-128-10", "cnn", 256),
         ("gpt 4 x 128, context 64", "gpt", 16)]


def limits():
    """Samples a second with one and two threads, and the share of the sgemm of the same turns."""
    return alternate.crate_bench("compute-core", "train")


def native():
    """The one binary for all processors beside one built for this processor alone."""
    # The short form looks whether it runs, and a second build of the engine would take minutes.
    if alternate.short():
        return
    build = {"RUSTFLAGS": "-C target-cpu=native", "CARGO_TARGET_DIR": str(ROOT / "target/native")}
    for name, model, batch in CASES:
        turns = alternate.in_turns(lambda: ours(name, batch)[1], lambda: ours(name, batch, **build)[1])
        yield {"model": model, "batch": batch, **turns}


def peers():
    """Beside PyTorch, as shipped and with MKL's vendor check answered, in turns of a few seconds."""
    seconds = 1 if alternate.short() else 4
    for name, model, batch in CASES:
        theirs = {
            (threads, answered): pytorch(model, batch, threads, seconds, answered)
            for threads in (1, 2) for answered in ways()
        }
        turns = alternate.turns({"ours": lambda: ours(name, batch), **theirs})
        for threads, answered in theirs:
            pairs = [(turn["ours"][threads], turn[threads, answered]) for turn in turns]
            yield {"model": model, "batch": batch, "threads": threads,
                   "vendor_check_answered": answered, **alternate.beside(pairs)}


def ways():
    """Whether to answer MKL's vendor check: both ways, where there is anything to answer."""
    return (False,) if "GenuineIntel" in open("/proc/cpuinfo").read() else (False, True)


def ours(name, batch, **environment):
    """Samples a second of one process of the bench with one and two threads, as a peer's figure is of
    one process."""
    [line] = alternate.crate_bench("compute-core", "train", name, str(batch), "5", **environment)
    return {threads: line[f"samples_per_second_{threads}"] for threads in (1, 2)}


def pytorch(model, batch, threads, seconds, answered):
    """What measures PyTorch's samples a second once."""
    extra = ["--answer-vendor-check"] if answered else []
    words = ["torch_train.py", model, batch, threads, "--seconds", seconds, *extra]
    return lambda: alternate.peer(*words)[0]["samples_per_second"]
