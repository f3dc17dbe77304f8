"""The loss of one batch and its gradients with PyTorch: writes tests/fixtures/vae.safetensors.

    python pytorch.py

Needs `torch` and `safetensors`. Everything is computed in f64 from the f32 values that are stored.
"""

import pathlib
import struct

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

PIXELS, HIDDEN, LATENT, BATCH = 64, 24, 5, 16
examples = pathlib.Path(__file__).parent.parent


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(PIXELS, HIDDEN)
        self.mean = nn.Linear(HIDDEN, LATENT)
        self.log_variance = nn.Linear(HIDDEN, LATENT)
        self.decoder = nn.Linear(LATENT, HIDDEN)
        self.pixels = nn.Linear(HIDDEN, PIXELS)

    def forward(self, images, noise):
        x = torch.relu(self.encoder(images))
        mean, log_variance = self.mean(x), self.log_variance(x)
        points = mean + torch.exp(0.5 * log_variance) * noise
        drawn = torch.sigmoid(self.pixels(torch.relu(self.decoder(points))))
        bce = F.binary_cross_entropy(drawn, images, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return bce, kl


torch.manual_seed(11)
data = (examples / "data/digits.bin").read_bytes()
assert struct.unpack_from("<4s", data) == (b"DIG8",)
items = torch.frombuffer(bytearray(data[16:]), dtype=torch.uint8).reshape(-1, PIXELS + 1)
images = items[:BATCH, :PIXELS].float() / 16
noise = torch.randn(BATCH, LATENT)
model = Vae()
tensors = {"noise": noise}
tensors |= {f"model.{name}": param.detach().clone() for name, param in model.named_parameters()}
model.double()
bce, kl = model(images.double(), noise.double())
((bce + kl) / BATCH).backward()
tensors |= {"bce": bce.detach().float()[None], "kl": kl.detach().float()[None]}
tensors |= {f"grad.{name}": param.grad.float() for name, param in model.named_parameters()}
save_file(tensors, examples / "../tests/fixtures/vae.safetensors")
