"""The PyTorch side of the comparison: `peer.rs` starts it, `run` says how to run both.

Reads the name of a workload from stdin, times a turn of it, writes the microseconds of one call
to stdout, and so on until stdin ends. The argument is the number of threads. By hand:

    echo matmul_f32_256 | python3 benches/compare/torch_side.py 2

A second argument is the row of `process.rs` that is all the process is to do.

PyTorch runs with the settings that suit it: inference mode for what needs no gradients,
channels-last images where they are faster, fused Adam, and a timing loop without a Python call
of its own (`timeit`).
"""

import sys
from statistics import median
from timeit import Timer

import torch
from torch import nn
from torch.nn import functional as F

MILLION = 1_000_000
BATCHES, BATCH_SECONDS = 5, 0.02  # as in timing.rs


class Workload:
    """A statement that is timed, with the names it uses."""

    def __init__(self, statement, names, grad=False):
        self.timer = Timer(statement, globals=names | {"torch": torch, "F": F})
        self.grad = grad
        self.mixed = False

    def seconds(self, calls):
        half = torch.autocast("cpu", torch.bfloat16, enabled=self.mixed)
        with torch.inference_mode(not self.grad), half:
            return self.timer.timeit(calls)

    def turn(self):
        """Microseconds of one call: the median over a few batches, after one that warms up."""
        calls = 1
        while (taken := self.seconds(calls)) <= BATCH_SECONDS / 4:
            calls *= 2
        calls = max(1, int(calls * BATCH_SECONDS / taken))
        return median(self.seconds(calls) / calls for _ in range(BATCHES)) * 1e6


def fastest(workloads):
    """The workload that takes the least time: PyTorch has several ways to run some."""
    return min(workloads, key=lambda workload: min(workload.turn() for _ in range(3)))


def unary(statement, *shape, **names):
    return lambda: Workload(statement, {"x": torch.randn(shape)} | names)


def binary(statement, *shape):
    return lambda: Workload(statement, {"a": torch.randn(shape), "b": torch.randn(shape)})


def half_binary(statement, dtype, *shape):
    """As `binary`, in a half type."""
    return lambda: Workload(statement, {name: torch.randn(shape).to(dtype) for name in "ab"})


def chain():
    return Workload("F.gelu(a * b + c) * d", {name: torch.randn(MILLION) for name in "abcd"})


def layernorm():
    names = {"x": torch.randn(1000, 1000), "layer": nn.LayerNorm(1000)}
    return Workload("layer(x)", names)


def linear_gelu():
    names = {"x": torch.randn(128, 1024), "layer": nn.Linear(1024, 4096)}
    return Workload("F.gelu(layer(x))", names)


def conv(*shape, channels):
    """A 3x3 convolution with padding 1 and a bias."""

    def make(memory_format):
        x = torch.randn(shape).to(memory_format=memory_format)
        weight = torch.randn(channels, shape[1], 3, 3).to(memory_format=memory_format)
        names = {"x": x, "w": weight, "b": torch.randn(channels)}
        return Workload("F.conv2d(x, w, b, padding=1)", names)

    return lambda: fastest(map(make, (torch.contiguous_format, torch.channels_last)))


def sdpa(*shape):
    """Causal attention of `[batch, heads, time, d]`."""
    names = {name: torch.randn(shape) for name in "qkv"}
    return lambda: Workload("F.scaled_dot_product_attention(q, k, v, is_causal=True)", names)


def mlp(*sizes):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 12 * 12, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


class BasicBlock(nn.Module):
    """Two convolutions, and the image added to what they give."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def resnet18():
    """The network of torchvision, which need not be installed."""
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    for inputs, outputs, stride in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]:
        layers += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*layers).eval()


def resnet18_forward():
    def make(memory_format):
        model, x = resnet18(), torch.randn(1, 3, 224, 224)
        names = {
            "model": model.to(memory_format=memory_format),
            "x": x.to(memory_format=memory_format),
        }
        return Workload("model(x)", names)

    return fastest(map(make, (torch.contiguous_format, torch.channels_last)))


def mlp_forward():
    return Workload("model(x)", {"x": torch.randn(1, 64), "model": mlp(64, 64, 10)})


def train(model, x):
    """One training step: gradients set to None, forward, cross-entropy, backward, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    names = {"model": model, "x": x, "y": torch.randint(10, (x.shape[0],)), "optimizer": optimizer}
    step = """
optimizer.zero_grad(set_to_none=True)
F.cross_entropy(model(x), y).backward()
optimizer.step()
"""
    return Workload(step, names, grad=True)


def lstm():
    """One layer over 32 sequences of 64 steps, and the gradients of its parameters."""
    names = {"layer": nn.LSTM(256, 256, batch_first=True), "x": torch.randn(32, 64, 256)}
    step = "layer.zero_grad(set_to_none=True)\nlayer(x)[0].sum().backward()"
    return Workload(step, names, grad=True)


def mixed(make):
    """A training step in bf16 where that is precise enough."""

    def workload():
        step = make()
        step.mixed = True
        return step

    return workload


def train_mlp(batch, *sizes):
    return lambda: train(mlp(*sizes), torch.randn(batch, sizes[0]))


def train_cnn():
    def make(memory_format):
        model, x = cnn(), torch.randn(64, 1, 28, 28)
        return train(model.to(memory_format=memory_format), x.to(memory_format=memory_format))

    return fastest(map(make, (torch.contiguous_format, torch.channels_last)))


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x):
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(y.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, causal)
        self.norm2, self.up = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(256, 192), nn.Embedding(128, 192)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.Sequential(*[Block(192, 6, causal=True) for _ in range(6)])
        self.norm = nn.LayerNorm(192)

    def forward(self, tokens):
        x = self.blocks(self.wte(tokens) + self.wpe.weight[: tokens.shape[1]])
        return F.linear(self.norm(x), self.wte.weight)


def encoder_layer():
    """A block by hand, and PyTorch's layer, which has a fast path of its own."""
    x = torch.randn(8, 128, 384)
    options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    layers = Block(384, 12, causal=False), nn.TransformerEncoderLayer(384, 12, 1536, **options)
    return fastest([Workload("model(x)", {"x": x, "model": model.eval()}) for model in layers])


def gpt_forward():
    names = {"x": torch.randint(256, (8, 128)), "model": Gpt().eval()}
    return Workload("model(x)", names)


def gpt_train():
    model = Gpt()
    x, y = torch.randint(256, (8, 128)), torch.randint(256, (8 * 128,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    step = """
optimizer.zero_grad(set_to_none=True)
F.cross_entropy(model(x).view(8 * 128, 256), y).backward()
optimizer.step()
"""
    return Workload(step, {"model": model, "x": x, "y": y, "optimizer": optimizer}, grad=True)


WORKLOADS = {
    "add_4elem": binary("a + b", 4),
    "reshape_1M": unary("x.reshape(1000, 1000)", MILLION),
    "matmul_f32_64": binary("a @ b", 64, 64),
    "matmul_f32_256": binary("a @ b", 256, 256),
    "matmul_f32_1024": binary("a @ b", 1024, 1024),
    "matmul_bf16_1024": half_binary("a @ b", torch.bfloat16, 1024, 1024),
    "matmul_bf16_256": half_binary("a @ b", torch.bfloat16, 256, 256),
    "matmul_f16_256": half_binary("a @ b", torch.float16, 256, 256),
    "add_1M": binary("a + b", MILLION),
    "mul_scalar_1M": unary("x * 2.0", MILLION),
    "relu_1M": unary("torch.relu(x)", MILLION),
    "exp_1M": unary("torch.exp(x)", MILLION),
    "tanh_1M": unary("torch.tanh(x)", MILLION),
    "sigmoid_1M": unary("torch.sigmoid(x)", MILLION),
    "gelu_1M": unary("F.gelu(x)", MILLION),
    "chain_gelu_muladd_1M": chain,
    "chain_unfused_1M": chain,
    "add_bf16_1M": half_binary("a + b", torch.bfloat16, MILLION),
    "add_f16_1M": half_binary("a + b", torch.float16, MILLION),
    "exp_bf16_1M": half_binary("a.exp()", torch.bfloat16, MILLION),
    "exp_f16_1M": half_binary("a.exp()", torch.float16, MILLION),
    "sum_1M": unary("x.sum()", MILLION),
    "sum_axis0_1M": unary("x.sum(0, keepdim=True)", 1000, 1000),
    "sum_axis1_1M": unary("x.sum(1, keepdim=True)", 1000, 1000),
    "softmax_1000x1000": unary("torch.softmax(x, 1)", 1000, 1000),
    "layernorm_1000x1000": layernorm,
    "transpose_copy_1M": unary("x.t().contiguous()", 1000, 1000),
    "linear_gelu_128x1024x4096": linear_gelu,
    "conv3x3_32x3x32x32_64": conv(32, 3, 32, 32, channels=64),
    "conv3x3_32x64x32x32_64": conv(32, 64, 32, 32, channels=64),
    "conv3x3_1x64x56x56_64": conv(1, 64, 56, 56, channels=64),
    "sdpa_causal_8x8x256x64": sdpa(8, 8, 256, 64),
    "resnet18_fwd_1x3x224x224": resnet18_forward,
    "mlp_tiny_forward_b1": mlp_forward,
    "train_mlp_tiny_b32": train_mlp(32, 64, 32, 10),
    "train_mlp_mnist_b128": train_mlp(128, 784, 512, 512, 10),
    "train_cnn_mnist_b64": train_cnn,
    "encoder_layer_fwd_8x128x384": encoder_layer,
    "gpt_mini_fwd_8x128": gpt_forward,
    "train_gpt_mini_8x128": gpt_train,
    "lstm_fwd_bwd_32x64x256": lstm,
    "train_mlp_mnist_b128_bf16": mixed(train_mlp(128, 784, 512, 512, 10)),
    "train_gpt_mini_8x128_bf16": mixed(gpt_train),
}


def cold_start():
    with torch.inference_mode():
        print(nn.Linear(64, 10)(torch.ones(1, 64)).sum().item())


def peak_rss_gpt_mini_mb():
    gpt_train().seconds(20)
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    if len(sys.argv) > 2:
        return {f.__name__: f for f in (cold_start, peak_rss_gpt_mini_mb)}[sys.argv[2]]()
    current = workload = None
    for line in sys.stdin:
        if line.strip() != current:
            current = line.strip()
            workload = None  # frees the last one first
            workload = WORKLOADS[current]()
        print(workload.turn(), flush=True)


if __name__ == "__main__":
    main()
