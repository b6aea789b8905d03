"""Training steps of a model in PyTorch, and how fast they are."""

import statistics
import time

import torch
import torch_models

BATCHES = 16

# Each form of a model is tried so often, for so long, and the one with the best median is measured.
TRIES, SECONDS_OF_TRY = 5, 0.15


class Training:
    """A model, its optimiser and its rows, between two steps."""

    def __init__(self, name, batch, form):
        torch.manual_seed(1)
        optimizer, layout = self.form = form
        self.model = torch_models.MODELS[name]().to(memory_format=getattr(torch, layout))
        self.features, self.targets = torch_models.rows(name, BATCHES * batch)
        parameters = self.model.parameters()
        if name == "gpt":
            self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, **{optimizer: True})
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=0.01, **{optimizer: True})
        self.batch = batch
        self.order = []
        self.loss = None

    def step(self):
        if not self.order:
            self.order = list(torch.randperm(len(self.features)).split(self.batch))
        places = self.order.pop()
        logits = self.model(self.features[places])
        self.loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), self.targets[places].flatten())
        self.optimizer.zero_grad()
        self.loss.backward()
        self.optimizer.step()

    def samples_per_second(self, seconds):
        """Over whole steps that take `seconds` or a little more."""
        steps, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds or steps == 0:
            self.step()
            steps += 1
        return steps * self.batch / passed


def fastest(name, batch):
    """The training whose optimiser and memory layout suit this processor best, warm."""
    layouts = ["channels_last", "contiguous_format"] if name == "cnn" else ["contiguous_format"]
    trainings = [
        Training(name, batch, (optimizer, layout)) for optimizer in ("fused", "foreach") for layout in layouts
    ]
    speeds = [[] for _ in trainings]
    for training in trainings:
        training.samples_per_second(SECONDS_OF_TRY)
    for _ in range(TRIES):
        for training, seen in zip(trainings, speeds):
            seen.append(training.samples_per_second(SECONDS_OF_TRY))
    medians = [statistics.median(seen) for seen in speeds]
    return trainings[medians.index(max(medians))]
