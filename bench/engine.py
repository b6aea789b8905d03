"""Training: what of the processor's products it takes, and beside PyTorch."""

import alternate

# The bench's name of each model, PyTorch's, and the batch.
CASES = [("mlp 784-512-256-10", "mlp", 64), ("mlp 784-512-256-10", "mlp", 256),
         ("cnn 28x28 32-64-128-10", "cnn", 64), ("cnn 28x28 32-64-128-10", "cnn", 256),
         ("gpt 4 x 128, context 64", "gpt", 16)]


def limits():
    """Samples a second with one and two threads, and the share of the sgemm of the same turns."""
    return alternate.crate_bench("compute-core", "train")


def peers():
    """Beside PyTorch, as shipped and with MKL's vendor check answered, in turns of a few seconds."""
    for name, model, batch in CASES:
        for threads in (1, 2):
            for answered in (False, True):
                extra = ["--answer-vendor-check"] if answered else []
                seconds = 1 if alternate.short() else 5
                turns = alternate.in_turns(
                    lambda: ours(name, batch, threads),
                    lambda: alternate.peer("torch_train.py", model, batch, threads,
                                           "--seconds", seconds, *extra)[0]["samples_per_second"],
                )
                yield {"model": model, "batch": batch, "threads": threads,
                       "vendor_check_answered": answered, **turns}


def ours(name, batch, threads):
    """Samples a second of one process of the bench, as a peer's figure is of one process."""
    told = alternate.crate_bench("compute-core", "train", name)
    return next(line[f"samples_per_second_{threads}"] for line in told if line["batch"] == batch)
