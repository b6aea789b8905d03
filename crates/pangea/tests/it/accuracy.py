# Reads a model with the safetensors package, and says what is in it and how often it is right.
# Arguments: the model's file, and rows as CSV with the label in the last column.
import json
import sys

import numpy
from safetensors.numpy import load_file

tensors = load_file(sys.argv[1])
rows = numpy.loadtxt(sys.argv[2], delimiter=",", skiprows=1, dtype=numpy.float32)
features, labels = rows[:, :-1], rows[:, -1]
hidden = features @ tensors["layers.000.weight"].T + tensors["layers.000.bias"]
hidden = numpy.maximum(hidden, 0)
logits = hidden @ tensors["layers.002.weight"].T + tensors["layers.002.bias"]
told = {
    "tensors": {name: [str(tensor.dtype), tensor.shape] for name, tensor in tensors.items()},
    "accuracy": float((logits.argmax(axis=1) == labels).mean()),
}
print(json.dumps(told))
