"""The first losses of the same network with PyTorch.

    python pytorch.py         # writes tests/fixtures/pinn.safetensors
    python pytorch.py --time  # milliseconds of a step with as many points as the example has

Needs `torch` and `safetensors`. Losses are computed in f64 from the f32 weights that are stored.
"""

import copy
import math
import pathlib
import sys
import time

import torch
from safetensors.torch import save_file
from torch import nn

VISCOSITY, STEPS, RATE = 0.1 / math.pi, 20, 0.002


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [2] + [20] * 8 + [1]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight)

    def forward(self, x, t):
        h = torch.cat([x, t], 1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return self.layers[-1](h)


def points(n):
    few = -(-n // 16)
    start, ends = torch.rand(few, 1) * 2 - 1, torch.tensor([[-1.0], [1.0]]).repeat_interleave(few, 0)
    return {
        "inside.x": torch.rand(n, 1) * 2 - 1,
        "inside.t": torch.rand(n, 1),
        "border.x": torch.cat([start, ends]),
        "border.t": torch.cat([torch.zeros(few, 1), torch.rand(2 * few, 1)]),
        "known": torch.cat([-torch.sin(math.pi * start), torch.zeros(2 * few, 1)]),
    }


def loss(model, points):
    def derivatives(y, *xs):
        return torch.autograd.grad(y, xs, torch.ones_like(y), create_graph=True)

    x, t = points["inside.x"].clone().requires_grad_(), points["inside.t"].clone().requires_grad_()
    u = model(x, t)
    u_x, u_t = derivatives(u, x, t)
    (u_xx,) = derivatives(u_x, x)
    residual = u_t + u * u_x - VISCOSITY * u_xx
    border = model(points["border.x"], points["border.t"]) - points["known"]
    return residual.square().mean() + border.square().mean()


def train(model, points, steps):
    optim = torch.optim.Adam(model.parameters(), RATE)
    losses = []
    for _ in range(steps):
        optim.zero_grad()
        value = loss(model, points)
        value.backward()
        optim.step()
        losses.append(value.item())
    return losses


torch.manual_seed(5)
model = Net()
if sys.argv[1:] == ["--time"]:
    torch.set_num_threads(2)
    data = points(2000)
    train(model, data, 20)
    start = time.perf_counter()
    train(model, data, 100)
    print(f"{10 * (time.perf_counter() - start):.2f} ms")
else:
    data = points(256)
    tensors = dict(data)
    tensors |= {f"model.{name}": param.detach().clone() for name, param in model.named_parameters()}
    double = {name: value.double() for name, value in data.items()}
    losses = train(copy.deepcopy(model).double(), double, STEPS)
    print(losses)
    single = train(model, data, STEPS)
    print(f"f32 differs by {max(abs(a / b - 1) for a, b in zip(single, losses)):.1e}")
    tensors["losses"] = torch.tensor(losses, dtype=torch.float32)
    folder = pathlib.Path(__file__).parent.parent.parent / "tests/fixtures"
    save_file(tensors, folder / "pinn.safetensors")
