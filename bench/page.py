"""docs/benchmarks.md, written from what was found, and from bench/causes.md, which people write."""

from functools import partial

from house import ROOT

CAUSES = ROOT / "bench/causes.md"

HEAD = """# Benchmarks

Written by `make bench` (and `make bench-peers`, which measures PyTorch and Flower in the same run); the figures with their spread are in [benchmarks.json](benchmarks.json). Only ratios of one run carry over to another machine. Medians; in brackets the lowest and the highest of the pairs.
"""

WHERE = "Measured at {commit} on {processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}."


# What is aimed at, by the part of the page that says what was reached.
TARGETS = {
    "share of sgemm, 1 thread": "MLP 256 ≥ 0.85, CNN 64 ≥ 0.40, GPT 16 ≥ 0.70",
    "2 threads ÷ 1": "≥ 1.7",
    "fold ÷ read": "2 threads ≥ 0.45",
    "stream ÷ bare": "≥ 0.8",
}


def write(found, path):
    parts = [HEAD]
    for name, section in SECTIONS.items():
        if found["measures"].get(name):
            parts.append(section(found["measures"][name]) + f"\n{WHERE.format(**found['where'][name])}\n")
    parts.append(CAUSES.read_text())
    path.write_text("\n".join(parts))


def table(heading, columns, rows, note=""):
    lines = [f"## {heading}", ""]
    if note:
        lines += [note, ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def around(figure, digits=2):
    return f"{figure['median']:.{digits}f} ({figure['lowest']:.{digits}f}–{figure['highest']:.{digits}f})"


def training(lines):
    spread = lambda line, name: f"{line[name]} ({line[name + '_lowest']}–{line[name + '_highest']})"
    rows = [(line["model"], line["batch"], f"{line['samples_per_second_1']:,.0f}",
             f"{line['samples_per_second_2']:,.0f}", spread(line, "share_of_gemm"), spread(line, "ratio_2_to_1"))
            for line in lines]
    columns = ["model", "batch", "samples/s, 1 thread", "2 threads", "share of sgemm, 1 thread", "2 threads ÷ 1"]
    targets = (f"Aims: {TARGETS['share of sgemm, 1 thread']}; 2 threads ÷ 1 {TARGETS['2 threads ÷ 1']}. A convolution "
               "counts with the arithmetic of its windows, of which tiles take less than half.")
    return table("Training", columns, rows, targets)


def folding(lines):
    rows = [(line["threads"], line["read_gbs"], line["fold_gbs"],
             f"{line['share']} ({line['share_lowest']}–{line['share_highest']})") for line in lines]
    return table("Aggregation of 8 updates of 10 M f32, in f64", ["threads", "reading, GB/s", "folding, GB/s", "share"],
                 rows, f"Aim: {TARGETS['fold ÷ read']}.")


def digests(lines):
    rows = [(line["digest"], line["read_gbs"], line["digest_gbs"],
             f"{line['share']} ({line['share_lowest']}–{line['share_highest']})") for line in lines]
    return table("Digests of 40 MB, 1 thread", ["digest", "reading, GB/s", "digesting, GB/s", "share"], rows,
                 "Bodies are named by BLAKE3.")


def streams(lines):
    rows = [(line["carrier"], line["direction"], line["bare_gbs"], line["stream_gbs"],
             f"{line['share']} ({line['share_lowest']}–{line['share_highest']})") for line in lines]
    return table("A gRPC stream beside its carrier", ["carrier", "direction", "bare, GB/s", "stream, GB/s", "share"],
                 rows, f"Aim: {TARGETS['stream ÷ bare']}.")


def starting(told):
    rows = [("the embedded house answers", around(told["ready_seconds"], 3), "≤ 0.150"),
            ("submission to the verdict on an update of one batch", around(told["first_batch_seconds"], 3), "≤ 0.020 to the first batch")]
    return table("The start", ["what", "seconds", "aim"], rows)


def sizes(told):
    rows = [(name, f"{size['bytes'] / 1e6:.0f}", f"{size['stripped'] / 1e6:.0f}") for name, size in told.items()]
    return table("Binaries", ["binary", "MB", "MB without line tables"], rows)


def floors(lines):
    rows = [(line["mode"], around(line["milliseconds"], 1), around(line["processor_milliseconds"], 1)) for line in lines]
    return table("A round that computes next to nothing, 10 workers",
                 ["processes", "milliseconds", "processor milliseconds"], rows,
                 "Medians of runs, each of which is the median of its rounds. Aims: 2 ms embedded, 6 ms as separate processes.")


def memory(lines):
    rows = [(line["clients"], line["peak_mib"], f"{line['peak_mib'] / line['model_mib']:.2f}") for line in lines]
    return table("The orchestrator's peak memory, 50 M parameters", ["clients", "MiB", "÷ the model"], rows,
                 "Aims: flat within 10 %, at most 2.6 models.")


def through_localstack(lines):
    milliseconds = lambda line, part: f"{line['parts'].get(part, 0) * 1e3:.1f}"
    rows = [(line["case"], around(line["alone"], 3), around(line["localstack"], 3),
             *(milliseconds(line, part) for part in ("training", "aggregating", "evaluating", "committing")),
             milliseconds(line, "queue_wait"), f"{line['parts']['s3_requests']:.1f}", milliseconds(line, "s3_seconds"))
            for line in lines]
    columns = ["case", "on the disk, s", "through LocalStack, s", "training, ms", "aggregating", "evaluating",
               "committing", "a task in the queue", "requests to S3", "their ms"]
    note = ("What each part of a round takes; a round's checkpoint is written while the next one trains, and "
            "requests to S3 go on beside both.")
    return table("A round through LocalStack's S3 and SQS", columns, rows, note)


def beside_pytorch(lines):
    rows = [(line["model"], line["batch"], line["threads"], "answered" if line["vendor_check_answered"] else "as shipped",
             f"{line['ours']['median']:,.0f}", f"{line['theirs']['median']:,.0f}", around(line["ours_per_theirs"]))
            for line in lines]
    columns = ["model", "batch", "threads", "MKL's vendor check", "ours, samples/s", "PyTorch", "ours ÷ PyTorch"]
    note = ("Aims: ≥ 1.9, 1.8, 2.2 of PyTorch as shipped (MLP, CNN, GPT), ≥ 1.05, 1.6, 1.3 of PyTorch at its best; "
            "on a processor of Intel's MKL's vendor check is passed as shipped, so that both are the same.")
    return table("Training beside PyTorch", columns, rows, note)


def beside_native(lines):
    rows = [(line["model"], line["batch"], f"{line['ours']['median']:,.0f}", f"{line['theirs']['median']:,.0f}",
             around(line["ours_per_theirs"])) for line in lines]
    columns = ["model", "batch", "one binary for all, samples/s, 1 thread", "built for this processor", "ratio"]
    return table("One binary for all processors", columns, rows, "Aim: ≥ 0.95.")


# How many times as long Flower is to take, by case and mode.
FLOWER = {("digits-2", "grpc"): 8, ("digits-8", "grpc"): 8, ("digits-2", "deployed"): 3000, ("params-1m", "grpc"): 4,
          ("params-10m", "grpc"): 12, ("params-50m", "grpc"): 15, ("clients-2000", "simulation"): 50}


def beside_flower(heading, lines):
    rows = [(line["case"], line["mode"], around(line["ours"], 4), around(line["theirs"], 4),
             around(inverse(line["ours_per_theirs"]), 1), f"≥ {FLOWER[line['case'], line['mode']]}") for line in lines]
    columns = ["case", "Flower's mode", "ours, s", "Flower, s", "Flower ÷ ours", "aim"]
    return table(heading, columns, rows)


def inverse(ratio):
    """The other way round, so that what was lowest is highest."""
    return {"median": 1 / ratio["median"], "lowest": 1 / ratio["highest"], "highest": 1 / ratio["lowest"]}


def beside_folds(lines):
    rows = [(line["peer"], line["what"], line["gigabytes_per_second"]) for line in lines]
    return table("Aggregation in the peers", ["peer", "form", "GB/s of updates"], rows)


SECTIONS = {
    "engine.limits": training,
    "engine.native": beside_native,
    "engine.peers": beside_pytorch,
    "rounds.floor": floors,
    "rounds.peers": partial(beside_flower, "A round beside Flower"),
    "rounds.peers_large": partial(beside_flower, "A round of 50 M parameters beside Flower"),
    "rounds.peers_deployed": partial(beside_flower, "A round beside Flower as it is deployed"),
    "rounds.memory": memory,
    "backends.localstack": through_localstack,
    "parts.fold": folding,
    "parts.fold_peers": beside_folds,
    "parts.digest": digests,
    "parts.stream": streams,
    "parts.start": starting,
    "parts.sizes": sizes,
}
