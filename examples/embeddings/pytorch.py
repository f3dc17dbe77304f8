"""Sentence embeddings of a BERT folder in plain PyTorch, as the example computes them with Kiln.

    python pytorch.py DIR EXPECTED   # embeddings of tests/fixtures/sentences.txt to a safetensors file
    python pytorch.py --tiny         # makes the model in tests/fixtures/tiny, and its embeddings
    python pytorch.py --time DIR FILE  # sentences per second, for the lines of a file

Needs `torch`, `safetensors` and `tokenizers`. Expected embeddings are computed in f64 from the
weights of the file; the script says by how much PyTorch's f32 differs from them.
"""

import json
import pathlib
import sys
import time

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional as F

FIXTURES = pathlib.Path(__file__).parent / "tests/fixtures"


def read(folder, dtype):
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    weights = {name: w.to(dtype) for name, w in weights.items() if w.is_floating_point()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(config["max_position_embeddings"])
    return config, weights, tokenizer


def embed(model, sentences):
    """All sentences in one batch."""
    config, weights, tokenizer = model
    encodings = tokenizer.encode_batch(sentences)
    ids = torch.tensor([e.ids for e in encodings])
    seen = torch.tensor([e.attention_mask for e in encodings], dtype=torch.bool)

    def linear(path, x):
        return F.linear(x, weights[f"{path}.weight"], weights[f"{path}.bias"])

    def norm(path, x):
        path, eps = f"{path}.LayerNorm", config["layer_norm_eps"]
        return F.layer_norm(x, x.shape[-1:], weights[f"{path}.weight"], weights[f"{path}.bias"], eps)

    def table(kind, index):
        return F.embedding(index, weights[f"embeddings.{kind}_embeddings.weight"])

    def split(x):
        return x.unflatten(-1, (config["num_attention_heads"], -1)).transpose(1, 2)

    x = table("word", ids) + table("token_type", torch.zeros_like(ids))
    x = norm("embeddings", x + table("position", torch.arange(ids.shape[1])))
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        heads = [split(linear(f"{layer}.attention.self.{w}", x)) for w in ("query", "key", "value")]
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=seen[:, None, None, :])
        mixed = mixed.transpose(1, 2).flatten(-2)
        x = norm(f"{layer}.attention.output", linear(f"{layer}.attention.output.dense", mixed) + x)
        wide = F.gelu(linear(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output", linear(f"{layer}.output.dense", wide) + x)
    mean = (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
    return F.normalize(mean)


@torch.no_grad()
def expect(folder, path):
    sentences = (FIXTURES / "sentences.txt").read_text().splitlines()
    expected = embed(read(folder, torch.float64), sentences)
    single = embed(read(folder, torch.float32), sentences)
    print(f"f32 differs by {(single - expected).abs().max():.1e}")
    save_file({"embeddings": expected.to(torch.float32)}, path)


def make_tiny(folder):
    """A model of two small layers with random weights, and a vocabulary of 100 pieces."""
    torch.manual_seed(7)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters
    vocabulary += [f"##{c}" for c in letters] + list(".,:!?-") + ["的", "你"]
    vocabulary += "the of in is on to and cat mat how do train price fell".split()
    vocabulary += [f"##{piece}" for piece in "ed ing er es en th st ou at ar or re on in".split()]
    assert len(vocabulary) <= 100 and len(set(vocabulary)) == len(vocabulary)
    vocabulary += [f"[unused{i}]" for i in range(100 - len(vocabulary))]
    special = {"[CLS]": 2, "[SEP]": 3}
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    single = ["[CLS]", None, "[SEP]"]
    single = [
        {"SpecialToken": {"id": s, "type_id": 0}} if s else {"Sequence": {"id": "A", "type_id": 0}}
        for s in single
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        # The example replaces this, as many files ask for.
        "padding": {
            "strategy": {"Fixed": 32},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [{"id": i, "content": s, **token} for i, s in enumerate(vocabulary[:5])],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {s: {"id": s, "ids": [i], "tokens": [s]} for s, i in special.items()},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: i for i, piece in enumerate(vocabulary)},
        },
    }
    config = {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 40,
        "model_type": "bert",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "type_vocab_size": 2,
        "vocab_size": 100,
    }
    h, wide = config["hidden_size"], config["intermediate_size"]
    weights = {"embeddings.position_ids": torch.arange(40)[None]}

    def matrix(path, *shape):
        weights[f"{path}.weight"] = torch.randn(shape) * 0.3

    def dense(path, inputs, outputs):
        matrix(path, outputs, inputs)
        weights[f"{path}.bias"] = torch.randn(outputs) * 0.1

    def norm(path):
        weights[f"{path}.LayerNorm.weight"] = torch.randn(h) * 0.2 + 1
        weights[f"{path}.LayerNorm.bias"] = torch.randn(h) * 0.2

    matrix("embeddings.word_embeddings", 100, h)
    matrix("embeddings.position_embeddings", 40, h)
    matrix("embeddings.token_type_embeddings", 2, h)
    norm("embeddings")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            dense(f"{layer}.attention.self.{name}", h, h)
        dense(f"{layer}.attention.output.dense", h, h)
        norm(f"{layer}.attention.output")
        dense(f"{layer}.intermediate.dense", h, wide)
        dense(f"{layer}.output.dense", wide, h)
        norm(f"{layer}.output")
    dense("pooler.dense", h, h)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    text = json.dumps(tokenizer, indent=1, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text + "\n")
    save_file(weights, folder / "model.safetensors")


@torch.no_grad()
def measure(folder, path, batch=32):
    torch.set_num_threads(2)
    model = read(folder, torch.float32)
    sentences = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    sentences.sort(key=len)
    for _ in range(2):  # the first time warms up
        start = time.perf_counter()
        for i in range(0, len(sentences), batch):
            embed(model, sentences[i : i + batch])
        seconds = time.perf_counter() - start
    print(f"{len(sentences)} sentences in {1e3 * seconds:.1f} ms, {len(sentences) / seconds:.0f} per second")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--tiny"]:
            make_tiny(FIXTURES / "tiny")
            expect(FIXTURES / "tiny", FIXTURES / "tiny.safetensors")
        case ["--time", folder, path]:
            measure(pathlib.Path(folder), pathlib.Path(path))
        case [folder, path]:
            expect(pathlib.Path(folder), path)
        case _:
            sys.exit(__doc__)
