"""Writes digits.bin: the UCI optical digits with one fixed train/test split.

    python3 -m pip install "scikit-learn>=1.0"
    python3 digits.py            # writes digits.bin beside this file
    python3 digits.py --check    # writes nothing; fails if digits.bin differs

The images ship inside scikit-learn, so nothing is downloaded. The split is stratified by class and
seeded; running this again gives the same bytes. README.md describes the format.
"""

import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_IMAGES = 360
SEED = 0
CLASSES, MAX_PIXEL = 10, 16


def encode() -> bytes:
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    assert (images == digits.images).all() and images.max() == MAX_PIXEL
    assert set(labels) == set(range(CLASSES))

    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=SEED
    )
    order = np.concatenate([train, test])
    rows, columns = images.shape[1:]
    header = struct.pack(
        "<4sIIBBBB", b"DIG8", len(train), len(test), rows, columns, CLASSES, MAX_PIXEL
    )
    records = np.hstack([images.reshape(len(labels), -1), labels[:, None]])[order]
    return header + records.tobytes()


def main() -> None:
    path = Path(__file__).with_name("digits.bin")
    data = encode()
    if "--check" in sys.argv[1:]:
        if path.read_bytes() != data:
            sys.exit(f"{path} is not what this script writes")
    else:
        path.write_bytes(data)
    print(f"{path}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
