"""Write the missing files of data/vectors/: python data/make_vectors.py [CASE …]

Cases that are named, or all with the word `all`, are written again. Needs nfnumpy installed. docs/verify.md describes
the files.
"""

import sys
from pathlib import Path

from nfnumpy.verify.vectors import write_vectors
from nfnumpy.verify.vectors.cases import all_cases

DIRECTORY = Path(__file__).parent / "vectors"


def main(names):
    again = [case.name for case in all_cases()] if names == ["all"] else names
    written = write_vectors(DIRECTORY, again)
    size = sum(file.stat().st_size for file in DIRECTORY.iterdir())
    print(f"written: {', '.join(written) or 'nothing'}; {size / 1e6:.2f} MB in all")


if __name__ == "__main__":
    main(sys.argv[1:])
