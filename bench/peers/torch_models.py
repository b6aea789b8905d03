"""The models of `pangea bench` in PyTorch: the same layers, biases and sizes.

Every linear layer and convolution has a bias. The GPT's head is its embedding and has none; its GELU
is the tanh approximation, and its layer norms have epsilon 1e-5. Nothing is dropped out.
"""

import torch
from torch import nn
from torch.nn import functional

BLOCKS, WIDTH, HEADS, CONTEXT, VOCABULARY = 4, 128, 4, 64, 65
CLASSES = 10


def mlp():
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(),
        nn.Linear(512, 256), nn.ReLU(),
        nn.Linear(256, CLASSES),
    )


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 128), nn.ReLU(),
        nn.Linear(128, CLASSES),
    )


class Block(nn.Module):
    """Causal attention and two linear layers, each behind a norm and beside a residual."""

    def __init__(self):
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.into_heads = nn.Linear(WIDTH, 3 * WIDTH)
        self.out_of_heads = nn.Linear(WIDTH, WIDTH)
        self.before_layers = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        rows, positions, _ = x.shape
        parts = self.into_heads(self.before_attention(x))
        query, key, value = parts.view(rows, positions, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out_of_heads(mixed.transpose(1, 2).reshape(rows, positions, WIDTH))
        wide = functional.gelu(self.wide(self.before_layers(x)), approximate="tanh")
        return x + self.narrow(wide)


class Gpt(nn.Module):
    """A decoder whose head is tied to its embedding."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.empty(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x):
        x = self.norm(self.blocks(self.tokens(x) + self.positions))
        return functional.linear(x, self.tokens.weight)


MODELS = {"mlp": mlp, "cnn": cnn, "gpt": Gpt}


def rows(model, count):
    """Random rows for `model`, and their targets."""
    if model == "gpt":
        text = torch.randint(VOCABULARY, (count, CONTEXT + 1))
        return text[:, :-1].contiguous(), text[:, 1:].contiguous()
    shape = (784,) if model == "mlp" else (1, 28, 28)
    return torch.rand(count, *shape), torch.randint(CLASSES, (count,))
