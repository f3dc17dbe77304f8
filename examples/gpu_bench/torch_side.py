"""The PyTorch side of `gpu_bench`, which starts it and says what it is.

Reads requests from stdin, a workload of `workload.rs` as JSON in a line each, and answers with a line.
The arguments are the device and `eager` or `compiled`. By hand:

    echo '{"sets": 2, "op": "matmul", "precision": "f32", "m": 64, "k": 64, "n": 64}' \
        | python3 examples/gpu_bench/torch_side.py cpu eager

PyTorch runs with the settings that suit it: inference mode for what needs no gradients, channels-last
images where they are faster, cuDNN's search for the best kernel, fused AdamW. TF32 is on where a
workload says so, and off elsewhere, as in Kiln.
"""

import json
import sys
import time
from itertools import cycle
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

BATCHES, BATCH_SECONDS = 5, 0.02  # as in timing.rs
DTYPES = {
    "f32": torch.float32,
    "tf32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
}
DEVICE, COMPILED = sys.argv[1], sys.argv[2] == "compiled"
ON_GPU = DEVICE != "cpu"
# Of images. To compile for both would take minutes.
LAYOUTS = (torch.channels_last,) if COMPILED else (torch.contiguous_format, torch.channels_last)


def compiled(function, mode=None):
    return torch.compile(function, mode=mode) if COMPILED else function


def random(*shape, dtype=torch.float32, grad=False):
    return torch.randn(shape, device=DEVICE, dtype=dtype, requires_grad=grad)


def classes(count, *shape):
    return torch.randint(count, shape, device=DEVICE)


def seconds(workload, calls):
    """Of the GPU by its own clock."""
    if ON_GPU:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        workload(calls)
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    start = time.perf_counter()
    workload(calls)
    return time.perf_counter() - start


def turn(workload):
    """Microseconds of one call: the median over a few batches, after one that warms up."""
    calls = 1
    while (taken := seconds(workload, calls)) <= BATCH_SECONDS / 4:
        calls *= 2
    calls = max(1, int(calls * BATCH_SECONDS / taken))
    return median(seconds(workload, calls) / calls for _ in range(BATCHES)) * 1e6


def fastest(workloads):
    """The workload that takes the least time: PyTorch has several ways to run some."""
    workloads = list(workloads)
    if len(workloads) == 1:
        return workloads[0]
    best, least = None, float("inf")
    for workload in workloads:
        workload(1)
        if (us := turn(workload)) < least:
            best, least = workload, us
    return best


def forward(sets, function):
    """A workload without gradients, over sets of inputs in turn."""
    function, sets = compiled(function), cycle(sets)

    def workload(calls):
        with torch.inference_mode():
            for _ in range(calls):
                function(*next(sets))

    return workload


def passes(sets, function, backward, params=()):
    """The same, and with `backward` the gradients of all inputs and of `params`."""
    if not backward:
        return forward(sets, function)
    with torch.no_grad():
        seed = torch.randn_like(function(*sets[0]))
    function, sets = compiled(function), cycle(sets)

    def workload(calls):
        for _ in range(calls):
            inputs = next(sets)
            torch.autograd.grad(function(*inputs), (*inputs, *params), seed)

    return workload


def train(model, loss, half=False, graph=False):
    """Training steps, with products in bf16 if `half`; as CUDA graphs if `graph` and compiled."""
    model = model.to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    loss = compiled(loss, mode="reduce-overhead" if graph else None)

    def workload(calls):
        for _ in range(calls):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(torch.device(DEVICE).type, torch.bfloat16, enabled=half):
                value = loss(model)
            value.backward()
            optimizer.step()

    return workload


def copy(sets, elements):
    pairs = [(random(elements), random(elements)) for _ in range(sets)]
    return forward(pairs, lambda source, target: target.copy_(source))


def add(sets, elements):
    return forward([(random(elements),) for _ in range(sets)], lambda x: x + x)


def item(sets, elements):
    return forward([(random(elements),) for _ in range(sets)], lambda x: (x + x)[0].item())


def matmul(sets, precision, m, k, n):
    dtype = DTYPES[precision]
    factors = [(random(m, k, dtype=dtype), random(k, n, dtype=dtype)) for _ in range(sets)]
    return forward(factors, torch.matmul)


def linear(sets, gelu, rows, inputs, outputs, backward):
    form = "tanh" if gelu == "tanh" else "none"

    def leaf(*shape):
        return random(*shape, dtype=torch.bfloat16, grad=True)

    parts = [(leaf(rows, inputs), leaf(outputs, inputs), leaf(outputs)) for _ in range(sets)]
    return passes(parts, lambda x, w, b: F.gelu(F.linear(x, w, b), approximate=form), backward)


def chain(sets, precision, elements, fused):
    numbers = [[random(elements, dtype=DTYPES[precision]) for _ in "abcd"] for _ in range(sets)]
    return forward(numbers, lambda a, b, c, d: F.gelu(a * b + c) * d)


def softmax(sets, precision, rows, columns):
    dtype = DTYPES[precision]
    inputs = [(random(rows, columns, dtype=dtype),) for _ in range(sets)]
    return forward(inputs, lambda x: torch.softmax(x, 1))


def layer_norm(sets, precision, rows, columns, backward):
    dtype = DTYPES[precision]
    inputs = [(random(rows, columns, dtype=dtype, grad=True),) for _ in range(sets)]
    params = [random(columns, dtype=dtype, grad=True) for _ in range(2)]
    return passes(inputs, lambda x: F.layer_norm(x, (columns,), *params), backward, params)


def cross_entropy(sets, rows, classes, backward):
    logits = [(random(rows, classes, grad=True),) for _ in range(sets)]
    targets = torch.randint(classes, (rows,), device=DEVICE)
    return passes(logits, lambda x: F.cross_entropy(x, targets), backward)


def attention(sets, batch, heads, time, width, backward):
    def part():
        return random(batch, heads, time, width, dtype=torch.bfloat16, grad=True)

    parts = [(part(), part(), part()) for _ in range(sets)]
    attend = F.scaled_dot_product_attention
    return passes(parts, lambda q, k, v: attend(q, k, v, is_causal=True), backward)


def conv(sets, batch, conv, backward):
    channels, size, kernel = conv["channels"], conv["size"], conv["kernel"]

    def make(memory_format):
        def leaf(*shape):
            x = random(*shape, dtype=torch.bfloat16).to(memory_format=memory_format)
            return x.requires_grad_()

        def pair():
            return leaf(batch, channels[0], size, size), leaf(*channels[::-1], kernel, kernel)

        def convolve(x, weight):
            return F.conv2d(x, weight, stride=conv["stride"], padding=kernel // 2)

        return passes([pair() for _ in range(sets)], convolve, backward)

    return fastest(map(make, LAYOUTS))


def adamw(sets, gpt):
    model = Gpt(**gpt).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    step = compiled(optimizer.step)
    return lambda calls: [step() for _ in range(calls)]


def train_mlp(sets, batch, sizes, graph):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    x, y = random(batch, sizes[0]), classes(sizes[-1], batch)
    model = nn.Sequential(*layers[:-1])
    return train(model, lambda model: F.cross_entropy(model(x), y), graph=graph)


def train_cnn(sets, batch):
    def make(memory_format):
        model = nn.Sequential(
            *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Linear(128, 10)),
        )
        x = random(batch, 1, 28, 28).to(memory_format=memory_format)
        y = classes(10, batch)
        model = model.to(memory_format=memory_format)
        return train(model, lambda model: F.cross_entropy(model(x), y))

    return fastest(map(make, LAYOUTS))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x):
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.up = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """GPT-2, with a head that is the table of tokens."""

    def __init__(self, tokens, positions, width, heads, blocks):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(positions, width)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.blocks(self.wte(tokens) + self.wpe.weight[: tokens.shape[1]])
        return F.linear(self.norm(x), self.wte.weight)


def train_gpt(sets, batch, gpt, graph):
    x, y = (classes(gpt["tokens"], batch, gpt["positions"]) for _ in range(2))
    y = y.flatten()
    model = Gpt(**gpt)

    def loss(model):
        return F.cross_entropy(model(x).flatten(0, 1), y)

    return train(model, loss, half=True, graph=graph)


def conv_norm(inputs, outputs, kernel, stride):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """Three convolutions, and the image added to what they give."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.first = conv_norm(inputs, width, 1, 1)
        self.second = conv_norm(width, width, 3, stride)
        self.third = conv_norm(width, 4 * width, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = conv_norm(inputs, 4 * width, 1, stride)

    def forward(self, x):
        y = self.third(self.relu(self.second(self.relu(self.first(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def resnet50():
    """The network of torchvision, which need not be installed."""
    layers, inputs = [conv_norm(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], 64
    for width, count, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for index in range(count):
            layers.append(Bottleneck(inputs, width, stride if index == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def train_resnet(sets, batch, size):
    def make(memory_format):
        x = random(batch, 3, size, size).to(memory_format=memory_format)
        y = classes(1000, batch)
        model = resnet50().to(memory_format=memory_format)
        return train(model, lambda model: F.cross_entropy(model(x), y), half=True)

    return fastest(map(make, LAYOUTS))


WORKLOADS = {
    "copy": copy,
    "add": add,
    "item": item,
    "matmul": matmul,
    "linear": linear,
    "chain": chain,
    "softmax": softmax,
    "layer_norm": layer_norm,
    "cross_entropy": cross_entropy,
    "attention": attention,
    "conv": conv,
    "adamw": adamw,
    "train_mlp": train_mlp,
    "train_cnn": train_cnn,
    "train_gpt": train_gpt,
    "train_resnet": train_resnet,
}


def make(request):
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = request.get("precision") == "tf32"
    if COMPILED:
        torch._dynamo.reset()  # forgets what it compiled for the last one
    if ON_GPU:
        torch.cuda.empty_cache()
    workload = WORKLOADS[request.pop("op")](**request)
    if ON_GPU:
        # Ways that were tried and were slower do not count.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    workload(3 if COMPILED else 1)
    return workload


def main():
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if not ON_GPU:
        torch.set_num_threads(1)  # a rehearsal, beside other processes
    if ON_GPU:
        torch.cuda.set_device(torch.device(DEVICE).index or 0)
    about = f"PyTorch {torch.__version__} on {DEVICE}, {sys.argv[2]}"
    if ON_GPU:
        about += f", {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    print(json.dumps({"Ok": {"about": about}}), flush=True)
    current = workload = None
    for line in sys.stdin:
        try:
            if line != current:
                current, workload = line, None  # frees the last one first
                workload = make(json.loads(line))
            us = turn(workload)
            peak = torch.cuda.max_memory_allocated() / 1e6 if ON_GPU else None
            answer = {"Ok": {"us": us, "peak_mb": peak}}
        except Exception as error:  # out of memory, no kernel: the next one may work
            current = None
            answer = {"Err": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
