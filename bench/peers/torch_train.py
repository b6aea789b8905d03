"""Training steps of PyTorch on the CPU, in samples a second, as one line of JSON.

    torch_train.py MODEL BATCH THREADS [--seconds S] [--answer-vendor-check]

MODEL is mlp, cnn or gpt, of torch_models.py; a sample of gpt is a sequence of 64 tokens. The work of
a step is that of `cargo bench -p compute-core`: a batch gathered from 16 batches of rows in memory in
shuffled order, forward, backward, optimiser: SGD at 0.01 for mlp and cnn, AdamW at 1e-3 with decay
0.01 for gpt. PyTorch has two forms of each that suit many parameters, and two layouts of images; the
fastest is found first. Then windows of equal length; the figure is their median.

PyTorch multiplies with Intel's MKL, which leaves its widest kernels alone on other makers'
processors; --answer-vendor-check loads a library first that tells it otherwise.

What differs from Pangea's step: sums in f32 in an order of PyTorch's own, which depends on the
threads, and cross entropy over all positions as one mean.
"""

import argparse
import json
import statistics

import environment

WINDOWS = 7


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["mlp", "cnn", "gpt"])
    parser.add_argument("batch", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time, all windows together")
    parser.add_argument("--answer-vendor-check", action="store_true", help="let MKL use its widest kernels")
    given = parser.parse_args()
    if given.batch < 1 or given.threads < 1 or given.seconds <= 0:
        parser.error("BATCH and THREADS are whole numbers from 1, and S is above 0")
    return given


def main():
    given = arguments()
    vendor = environment.HOME / "mkl_vendor.so"
    environment.enter({"LD_PRELOAD": str(vendor)} if given.answer_vendor_check else None)
    import torch
    import torch_steps

    torch.set_num_interop_threads(1)
    torch.set_num_threads(given.threads)
    training = torch_steps.fastest(given.model, given.batch)
    window = given.seconds / WINDOWS
    speeds = [training.samples_per_second(window) for _ in range(WINDOWS)]
    print(json.dumps({
        "peer": f"pytorch {torch.__version__}",
        "model": given.model,
        "batch": given.batch,
        "threads": given.threads,
        "vendor_check_answered": given.answer_vendor_check,
        "samples_per_second": round(statistics.median(speeds), 1),
        "slowest": round(min(speeds), 1),
        "fastest": round(max(speeds), 1),
        "windows": WINDOWS,
        "form": ", ".join(training.form),
        "parameters": sum(tensor.numel() for tensor in training.model.parameters()),
        "loss": round(training.loss.item(), 4),
    }))


if __name__ == "__main__":
    main()
