"""Training steps of a model in PyTorch, and how fast they are."""

import time

import torch
import torch_models

BATCHES = 16


class Training:
    """A model, its optimiser and its rows, between two steps."""

    def __init__(self, name, batch):
        torch.manual_seed(1)
        self.model = torch_models.MODELS[name]()
        self.features, self.targets = torch_models.rows(name, BATCHES * batch)
        if name == "cnn":
            self.model = self.model.to(memory_format=torch.channels_last)
        if name == "gpt":
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, fused=True)
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
