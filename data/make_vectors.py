"""Write data/vectors/ again: python data/make_vectors.py

Needs nfnumpy installed. docs/verify.md describes the files.
"""

from pathlib import Path

from nfnumpy.verify.vectors import write_vectors

DIRECTORY = Path(__file__).parent / "vectors"


def main():
    for old in DIRECTORY.glob("*"):
        old.unlink()
    index = write_vectors(DIRECTORY)
    size = sum(file.stat().st_size for file in DIRECTORY.iterdir())
    print(f"{len(index['cases'])} cases, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
