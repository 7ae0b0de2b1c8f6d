"""Do the tests notice mistakes in the Python code? Plants them at random, one at a time, in a copy of the repository.

    python reference_tests/tools/mutate_python.py [--count 60] [--seed 0] [--jobs 2] [AREA …]

An operator, a comparison or a constant is changed; then the tests of the area run until one fails. Prints a line for
every mistake: caught and by which test, or the change that survived. Some survivors compute the same values (a larger
block, another threshold between a formula and its fast path): each has to be read. The exit status is 1 if any
survived.
"""

import argparse
import ast
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 1200  # seconds; a mistake that makes the tests run on for ever is noticed too
TESTS = {  # of an area, the quickest to notice first
    "functional": ("functional", "autograd", "fast_numpy", "models", "training"),
    "functional/fast_numpy": ("fast_numpy", "functional", "autograd", "models", "training"),
    "functional/fast_cupy": ("kernels", "functional/test_operations_on_cupy.py", "training"),
    "optim": ("optim", "fast_numpy", "kernels/test_optimizer.py", "training", "verify/test_vectors.py"),
    "models": ("models", "nn", "training", "weights", "commands", "verify/test_vectors.py"),
    "nn": ("nn", "models", "optim", "training"),
    "training": ("training", "commands", "datasets"),
}
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}


def sites_of(tree):
    """Every (node, field) of a module that can be changed: not in messages, annotations, decorators or docstrings."""
    skipped = set()
    for node in ast.walk(tree):
        inside = []
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert)):
            inside = [node]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            inside = node.decorator_list
        elif isinstance(node, (ast.AnnAssign, ast.arg)) and node.annotation:
            inside = [node.annotation]
        if isinstance(node, ast.FunctionDef) and node.returns:
            inside = [*inside, node.returns]
        skipped.update(id(child) for part in inside for child in ast.walk(part))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in SWAPS:
            yield node, "op"
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
            yield node, "ops"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            yield node, "operand"
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            yield node, "value"


def change(node, field):
    """Change a node in place."""
    if field == "op":
        node.op = SWAPS[type(node.op)]()
    elif field == "ops":
        node.ops = [SWAPS[type(node.ops[0])]()]
    elif field == "operand":
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node.value, int):
        node.value += 1
    else:
        node.value = 2.0 * node.value if node.value else 1.0


def mistakes(areas, count, seed):
    """`count` random (area, file, number of the site), each site as likely as any other."""
    found = []
    for area in areas:
        for path in sorted((ROOT / "nfnumpy" / area).glob("**/*.py" if "fast" in area else "*.py")):
            if path.name != "tuning.py":
                sites = sites_of(ast.parse(path.read_text(encoding="utf-8")))
                found += [(area, path.relative_to(ROOT), number) for number, _ in enumerate(sites)]
    return random.Random(seed).sample(found, min(count, len(found)))


def plant(path, number):
    """Make the mistake in a file; returns a line that says what was changed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    node, field = list(sites_of(tree))[number]
    before = ast.unparse(node)
    line = node.lineno
    change(node, field)
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    return f"line {line}: {before}  ->  {ast.unparse(node)}"


def try_one(clean, area, path, number):
    """(whether a test noticed, what was changed, which test or "all pass")."""
    folder = Path(tempfile.mkdtemp(dir=clean.parent))
    shutil.copytree(clean, folder, symlinks=True, dirs_exist_ok=True)
    changed = plant(folder / path, number)
    named_alike = sorted((folder / "reference_tests").rglob(f"test_*{path.stem}*.py"))
    tests = [str(file.relative_to(folder)) for file in named_alike]
    tests += [f"reference_tests/{name}" for name in TESTS[area]]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=LIMIT)
        failed = re.search(r"^(?:FAILED|ERROR) reference_tests/(\S+)", done.stdout, re.MULTILINE)
        caught, by = done.returncode != 0, failed[1] if failed else done.stdout.strip()[-200:]
    except subprocess.TimeoutExpired:
        caught, by = True, "the time limit"
    shutil.rmtree(folder, ignore_errors=True)
    return caught, changed, by if caught else "all tests pass"


def main(arguments):
    """Plant the mistakes and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"default: all of {', '.join(TESTS)}")
    parser.add_argument("--count", type=int, default=60, help="how many mistakes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which mistakes (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at once (default: %(default)s)")
    options = parser.parse_args(arguments)
    chosen = mistakes(options.areas or TESTS, options.count, options.seed)
    survived = 0
    with tempfile.TemporaryDirectory() as top, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        clean = Path(top) / "clean"
        for part in ("nfnumpy", "reference_tests", "docs"):
            shutil.copytree(ROOT / part, clean / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("README.md", "pyproject.toml"):
            shutil.copy(ROOT / part, clean / part)
        (clean / "data").symlink_to(ROOT / "data")
        results = pool.map(lambda mistake: try_one(clean, *mistake), chosen)
        for (_, path, _), (caught, changed, by) in zip(chosen, results, strict=True):
            survived += not caught
            print(f"{'  caught ' if caught else '! SURVIVED '}{path} {changed}  ({by})", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} caught")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
