"""The rounds that Flower is measured on: what the clients hold, train and send, and what is reached.

All in NumPy, which is faster than PyTorch on models so small. The digits are those of
examples/digits, a fifth held out for the test, features brought to mean 0 and deviation 1, as
Pangea brings them.
"""

import dataclasses
import functools
import os
import pathlib

import numpy as np

SEED = 7
FEATURES, CLASSES = 64, 10
TEST_FRACTION = 0.2

# Where `write_digits` left the rows: reading text would be part of a round that starts processes.
DIGITS = "PEERS_DIGITS"


def write_digits(source, path):
    rows = np.loadtxt(source, delimiter=",", skiprows=1, dtype=np.float32)
    rows = rows[np.random.default_rng(SEED).permutation(len(rows))]
    features, labels = rows[:, :-1], rows[:, -1].astype(np.int64)
    held_out = int(len(rows) * TEST_FRACTION)
    mean, deviation = features[held_out:].mean(axis=0), features[held_out:].std(axis=0)
    features = (features - mean) / np.where(deviation == 0, 1, deviation)
    np.savez(path, features=features, labels=labels, held_out=held_out)


@functools.cache
def digits():
    """Features and labels of the training rows, then of the test's."""
    with np.load(pathlib.Path(os.environ[DIGITS])) as stored:
        features, labels, held_out = stored["features"], stored["labels"], int(stored["held_out"])
    return features[held_out:], labels[held_out:], features[:held_out], labels[:held_out]


@dataclasses.dataclass(frozen=True)
class Digits:
    """Clients that train linear layers with rectifiers between them on digits, by plain SGD."""

    clients: int
    hidden: tuple[int, ...] = (128,)
    # Rows of a client, where it is not an equal share of all.
    rows: int | None = None
    batch: int = 32
    learning_rate: float = 0.1

    def initial(self):
        chance = np.random.default_rng(SEED)
        widths = (FEATURES, *self.hidden, CLASSES)
        arrays = []
        for inputs, outputs in zip(widths, widths[1:]):
            bound = 1 / np.sqrt(inputs)
            for shape in ((inputs, outputs), (outputs,)):
                arrays.append(chance.uniform(-bound, bound, shape).astype(np.float32))
        return arrays

    def train(self, arrays, client, number):
        """One pass in an order of the round's own: the client's arrays, and how many rows it saw."""
        features, labels, _, _ = digits()
        if self.rows is None:
            mine = np.arange(client, len(labels), self.clients)
        else:
            mine = np.arange(client * self.rows, (client + 1) * self.rows) % len(labels)
        mine = np.random.default_rng((SEED, client, number)).permutation(mine)
        arrays = [array.copy() for array in arrays]
        for start in range(0, len(mine), self.batch):
            batch = mine[start : start + self.batch]
            descend(arrays, features[batch], labels[batch], np.float32(self.learning_rate))
        return arrays, len(mine)

    def accuracy(self, arrays):
        """On rows that no client has."""
        _, _, features, labels = digits()
        return float((forward(arrays, features)[-1].argmax(axis=1) == labels).mean())


def forward(arrays, x):
    """What goes into each layer, and the logits."""
    seen = [x]
    for weight, bias in zip(arrays[::2], arrays[1::2]):
        x = seen[-1] if len(seen) == 1 else np.maximum(seen[-1], 0, out=seen[-1])
        seen.append(x @ weight + bias)
    return seen


def descend(arrays, x, labels, learning_rate):
    """One step down the gradient of the mean cross entropy."""
    seen = forward(arrays, x)
    gradient = np.exp(seen[-1] - seen[-1].max(axis=1, keepdims=True))
    gradient /= gradient.sum(axis=1, keepdims=True)
    gradient[np.arange(len(labels)), labels] -= 1
    gradient *= learning_rate / len(labels)
    for layer in range(len(arrays) - 2, -1, -2):
        into = seen[layer // 2]
        change, change_of_bias = into.T @ gradient, gradient.sum(axis=0)
        if layer:
            gradient = (gradient @ arrays[layer].T) * (into > 0)
        arrays[layer] -= change
        arrays[layer + 1] -= change_of_bias


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Clients that return random parameters as large as those that they got.

    What comes back is what came, times a factor of the client's and the round's own: every value is
    new, so nothing that Flower keeps by its contents is found again, and it takes one pass.
    """

    count: int
    clients: int = 2
    layers: int = 10

    def initial(self):
        chance = np.random.default_rng(SEED)
        return [chance.standard_normal(self.count // self.layers, np.float32) for _ in range(self.layers)]

    def train(self, arrays, client, number):
        factor = np.float32(1 + (client + 1) / 1000 + number / 10_000)
        return [array * factor for array in arrays], 1

    def accuracy(self, _arrays):
        return None


CASES = {
    "digits-2": Digits(clients=2),
    "digits-8": Digits(clients=8),
    "params-1m": Parameters(1_000_000),
    "params-10m": Parameters(10_000_000),
    "params-50m": Parameters(50_000_000),
    "clients-2000": Digits(clients=2000, hidden=(), rows=10),
}
