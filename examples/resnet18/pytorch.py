"""ResNet-18 in PyTorch, without torchvision but with the names of its parameters.

    pip install torch numpy safetensors
    python examples/resnet18/pytorch.py

writes `random.safetensors`, a network with random weights, and `picture.ppm`, a pattern of colours,
and prints the classes that the network finds likeliest for it, as the example does:

    PyTorch 2.15.0
     0.113 %  class 601
     0.111 %  class 537
     0.111 %  class 778
     0.111 %  class 904
     0.111 %  class 756
"""

import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()

        def layer(inputs, outputs, stride):
            first = BasicBlock(inputs, outputs, stride)
            return nn.Sequential(first, BasicBlock(outputs, outputs, 1))

        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = layer(64, 64, 1)
        self.layer2 = layer(64, 128, 2)
        self.layer3 = layer(128, 256, 2)
        self.layer4 = layer(256, 512, 2)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def write_picture(path, width=320, height=288):
    y, x = np.mgrid[:height, :width] / 40.0
    colours = np.stack([np.sin(x + y), np.cos(2.0 * x), np.sin(x * y / 4.0)], axis=2)
    pixels = np.round(127.5 + 127.5 * colours).astype(np.uint8)
    with open(path, "wb") as file:
        file.write(b"P6 %d %d 255\n" % (width, height) + pixels.tobytes())
    return torch.from_numpy(pixels)


def prepare(pixels):
    """What torchvision does for its classification networks: `[h, w, 3]` to `[1, 3, 224, 224]`."""
    x = pixels.permute(2, 0, 1)[None] / 255.0
    height, width = x.shape[2:]
    short = min(height, width)
    size = [256 * height // short, 256 * width // short]
    x = F.interpolate(x, size, mode="bilinear", antialias=True)
    top, left = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    x = x[:, :, top : top + 224, left : left + 224]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / std[:, None, None]


def main():
    torch.manual_seed(0)
    model = ResNet18()
    save_file(model.state_dict(), "random.safetensors")
    x = prepare(write_picture("picture.ppm"))
    with torch.no_grad():
        probabilities = model.eval()(x).softmax(1)[0]
    print(f"PyTorch {torch.__version__}")
    for probability, number in zip(*probabilities.topk(5)):
        print(f"{100 * probability:6.3f} %  class {number}")


if __name__ == "__main__":
    main()
