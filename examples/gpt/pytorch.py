"""The GPT of this example in PyTorch, with what the example saved.

    pip install torch numpy safetensors
    cargo run --release --example gpt -- --data TEXT
    python examples/gpt/pytorch.py gpt.safetensors TEXT

prints the loss on the same test pieces as the example, which is the example's own, and the time of
the same training step. After the first 250 steps on Tiny Shakespeare, of which the example says
`test loss 2.4443`:

    PyTorch 2.15.0: test loss 2.4443
"""

import json
import sys
import time

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)}
        )
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )
        self.heads = heads

    def forward(self, x):
        n, t, width = x.shape
        qkv = self.attn["c_attn"](self.ln_1(x)).split(width, dim=2)
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in qkv)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Gpt(nn.Module):
    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab_size, n_embd),
                "wpe": nn.Embedding(block_size, n_embd),
                "h": nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer))),
                "ln_f": nn.LayerNorm(n_embd),
            }
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, tokens):
        parts = self.transformer
        x = parts["wte"](tokens) + parts["wpe"].weight[: tokens.shape[1]]
        return self.lm_head(parts["ln_f"](parts["h"](x)))


def loss_of(model, tokens, starts, length):
    pieces = torch.stack([tokens[start : start + length + 1] for start in starts])
    return F.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())


def main():
    with safe_open(sys.argv[1], "pt") as checkpoint:
        texts = checkpoint.metadata()
        names = [name for name in checkpoint.keys() if name.startswith("model.")]
        weights = {name.removeprefix("model."): checkpoint.get_tensor(name) for name in names}
    model = Gpt(**json.loads(texts["config"]))
    model.load_state_dict(weights, strict=True)

    codes = np.frombuffer(texts["vocabulary"].encode("utf-32-le"), np.uint32)
    with open(sys.argv[2], encoding="utf-8", newline="") as file:
        text = np.frombuffer(file.read().encode("utf-32-le"), np.uint32)
    tokens = torch.from_numpy(np.searchsorted(codes, text))
    test = tokens[len(tokens) // 10 * 9 :]
    length = model.transformer["wpe"].num_embeddings
    with torch.no_grad():
        starts = [i * (len(test) - length) // 200 for i in range(200)]
        losses = [loss_of(model, test, starts[i : i + 20], length) for i in range(0, 200, 20)]
    print(f"PyTorch {torch.__version__}: test loss {sum(losses) / len(losses):.4f}")

    batch, times = 12, []
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, 1e-5, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    for _ in range(200):
        start = time.perf_counter()
        starts = torch.randint(len(tokens) - length, (batch,))
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model, tokens, starts, length)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        times.append(time.perf_counter() - start)
    seconds = sorted(times)[len(times) // 2]
    speed = batch * length / seconds
    print(f"step of {batch} x {length} tokens: {1000 * seconds:.1f} ms, {speed:.0f} tokens/s")


main()
