"""The network of this example in PyTorch, with the weights that the example wrote.

    pip install torch numpy safetensors
    cargo run --release --example digits
    python examples/digits/pytorch.py digits.safetensors

prints the accuracy on the test images, which is that of the example:

    PyTorch 2.x: test accuracy 99.44 %

A second path writes the logits of all test images to a safetensors file; tests/fixtures has those
of the weights beside them.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64 * 2 * 2, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.norm3(self.conv3(x)))
        x = F.max_pool2d(x, 2)
        return self.fc(x.flatten(1))


def test_images():
    data = (Path(__file__).parent.parent / "data" / "digits.bin").read_bytes()
    train, test = struct.unpack("<II", data[4:12])
    items = np.frombuffer(data, np.uint8, offset=16).reshape(train + test, 65)[train:]
    images = torch.tensor(items[:, :64] / 16, dtype=torch.float32).reshape(test, 1, 8, 8)
    return images, torch.tensor(items[:, 64], dtype=torch.int64)


def main():
    weights, *output = sys.argv[1:]
    model = Net().eval()
    model.load_state_dict(load_file(weights), strict=True)
    images, labels = test_images()
    with torch.no_grad():
        logits = model(images)
    accuracy = (logits.argmax(1) == labels).double().mean()
    print(f"PyTorch {torch.__version__}: test accuracy {100 * accuracy:.2f} %")
    if output:
        save_file({"logits": logits}, output[0])


main()
