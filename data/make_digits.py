"""Write data/digits/ again from scikit-learn's copy of the UCI digits: python data/make_digits.py

Needs nfnumpy and scikit-learn installed. data/README.md says where the digits come from and how they are split.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from nfnumpy.datasets import write_idx

SEED = 1998
TEST_SHARE = 0.2
DIRECTORY = Path(__file__).parent / "digits"


def main():
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    is_test = choose_test(labels)
    DIRECTORY.mkdir(exist_ok=True)
    for name, chosen in (("train", ~is_test), ("test", is_test)):
        write_idx(DIRECTORY / f"{name}-images-idx3-ubyte.gz", images[chosen])
        write_idx(DIRECTORY / f"{name}-labels-idx1-ubyte.gz", labels[chosen])
        print(f"{name}: {chosen.sum()} images, by class {np.bincount(labels[chosen]).tolist()}")


def choose_test(labels):
    """True (N,) where an image belongs to the test split: a seeded fifth of every class, rounded."""
    generator = np.random.default_rng(SEED)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        is_test[members[: round(TEST_SHARE * len(members))]] = True
    return is_test


if __name__ == "__main__":
    main()
