"""Run nfnumpy.verify on all targets of reference_tests/audit and print how many of their mistakes it names.

    python -m reference_tests.tools.audit_verify [--kind KIND] [--framework NAME] [--json FILE] [--again]

Each result is a line of FILE; a further run goes on after those that are there. --again runs the misses again.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import torch
import tqdm

from nfnumpy.verify import KINDS
from reference_tests.audit.registry import FRAMEWORKS, cases
from reference_tests.audit.results import Result, result_of, table


def known(path):
    """{key: Result} of the lines of a file."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["key"]: Result(**{**line, "wanted": tuple(line["wanted"]), "diagnosis": tuple(line["diagnosis"])})
            for line in lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument("--json", type=Path, default=Path("runs/audit_verify.jsonl"), metavar="FILE")
    parser.add_argument("--again", action="store_true", help="run the misses again")
    given = parser.parse_args()
    torch.set_num_threads(1)
    asked = [case for case in cases(given.framework) if given.kind in (None, case.kind)]
    found = known(given.json)
    found = {key: result for key, result in found.items() if not (given.again and result.is_miss)}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    with given.json.open("a", encoding="utf-8") as file:
        for case in tqdm.tqdm([case for case in asked if case.key not in found]):
            found[case.key] = result_of(case)
            print(json.dumps(dataclasses.asdict(found[case.key]), ensure_ascii=False), file=file, flush=True)
    results = [found[case.key] for case in asked]
    print(table(results))
    for result in results:
        if result.is_miss:
            print(f"\n{result.key}: {result.outcome or 'no verdict'} ({result.framework}), {list(result.diagnosis)}, "
                  f"expected {list(result.wanted)}\n  {result.said}")


if __name__ == "__main__":
    main()
