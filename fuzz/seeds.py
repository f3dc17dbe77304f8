"""Writes the seeds in `corpus/` from the files that the tests of kiln-nn read.

Run `python seeds.py`; it needs nothing but Python.
"""

import json
import pathlib
import struct
import zipfile

here = pathlib.Path(__file__).parent
files = here.parent / "nn" / "tests" / "fixtures" / "files"


def seed(target, name, content):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


for name in ["plain.pt", "protocol4.pth", "views.pt", "attack.pt", "compressed.pt", "script.pt"]:
    seed("pt", name, (files / name).read_bytes())
for name in ["plain.pt", "protocol4.pth", "checkpoint.pt", "views.pt", "dtypes.pt", "list.pt",
             "attack.pt", "attack4.pt", "inst.pt", "module.pt", "sparse.pt", "conjugated.pt"]:
    with zipfile.ZipFile(files / name) as file:
        pickled = next(member for member in file.namelist() if member.endswith("data.pkl"))
        seed("pickle", name.split(".")[0], file.read(pickled))
seed("pickle", "cycle", b"\x80\x02]q\0h\0a.")
for name in ["stored.npz", "deflated.npz"]:
    seed("npz", name, (files / name).read_bytes())


def safetensors(name, header, data):
    header = json.dumps(header).encode()
    seed("safetensors", name, struct.pack("<Q", len(header)) + header + bytes(data))


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


safetensors("empty", {}, 0)
safetensors("two", {"__metadata__": {"format": "pt"}, "a": entry("F32", [2, 3], 0, 24),
                    "b": entry("BF16", [2], 24, 28)}, 28)
safetensors("overlap", {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, 12)
safetensors("overflow", {"a": entry("F32", [2**62, 4], 0, 0)}, 0)
safetensors("bool", {"a": entry("BOOL", [3], 0, 3)}, 3)
seed("safetensors", "huge-header", struct.pack("<Q", 2**63) + b"{}")

for name, content in {
    "two": {"metadata": {"total_size": 8}, "weight_map": {"a": "x.safetensors", "b": "y.bin"}},
    "escape": {"weight_map": {"a": "../x.safetensors"}},
    "absolute": {"weight_map": {"a": "/etc/passwd"}},
    "wrong": {"weight_map": {"a": 1}},
}.items():
    seed("index", name, json.dumps(content).encode())
seed("index", "deep", b'{"weight_map":' + b"[" * 200)
