"""Is it right? Property tests on the real device, compute-sanitizer, CuPy beside NumPy, and the digits' accuracy."""

import contextlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from .. import datasets, models
from ..errors import InputError
from ..training import TrainingOptions, train
from ..training.trainer import Trainer
from .report import watched
from .timing import one_line

ROOT = pathlib.Path(__file__).parents[2]
TESTS = ("**/test_*_on_cupy.py", "kernels/test_*.py")
TOOLS = ("memcheck", "racecheck")
DIGITS_ACCURACY, DIGITS_TOLERANCE = 0.9916, 0.006
# (dtype, rho of SAM, steps, greatest relative distance of a step's losses)
RUNS = (("float32", None, 50, 1e-4), ("float32", 0.05, 50, 1e-4), ("float64", None, 20, 1e-10),
        ("float64", 0.05, 20, 1e-10))
COLUMNS = [("check", "what", ""), ("result", "passed", lambda passed: "passed" if passed else "FAILED"),
           ("found", "found", "")]


def test_files(folder=None):
    """The property tests that run on a GPU; InputError where they are not beside the package."""
    folder = folder or ROOT / "reference_tests"
    found = sorted({str(file) for pattern in TESTS for file in folder.glob(pattern)})
    if not found:
        raise InputError(f"the property tests are not in {folder}; run from a clone of the repository, or leave them "
                         f"out with --no-tests")
    return found


def measure(report, plan):
    """The section "correctness": rows with what, passed and found."""
    with report.section("correctness", "Correctness on this device") as section:
        checks = []
        if plan.tests:
            files = test_files()
            checks.append(("property tests", lambda: property_tests(files)))
            if shutil.which("compute-sanitizer"):
                checks += [(f"compute-sanitizer {tool}", lambda tool=tool: sanitize(tool)) for tool in TOOLS]
            else:
                section.note("compute-sanitizer is not on PATH: memory is not checked on the device")
        checks += [(f"losses beside NumPy's, {dtype}" + (", SAM" if sam else ""),
                    lambda run=(dtype, sam, min(steps, plan.loss_steps), bound): compare_losses(*run, plan.loss_batch))
                   for dtype, sam, steps, bound in RUNS]
        if plan.digits:
            checks.append(("accuracy on the digits", train_the_digits))
        for what, check in watched(checks, "checks"):
            try:
                passed, found = check()
            except Exception as error:
                passed, found = False, one_line(error)
            section.add(what=what, passed=passed, found=found)
        section.show(COLUMNS)


def failed(report):
    """Whether something is wrong: a check failed, could not be made, or PyTorch's network computes something else."""
    section = report.sections["correctness"]
    return section.failure is not None or any(not row["passed"] for row in section.rows) \
        or bool(report.rows("against PyTorch", agrees=False))


def property_tests(files):
    """(whether all pass, pytest's last line) in a process of their own."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *files], capture_output=True, text=True, cwd=ROOT)
    return _judged(done)


def sanitize(tool):
    """(whether compute-sanitizer's `tool` finds nothing in a few steps, its last line)."""
    done = subprocess.run(["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-m",
                           "nfnumpy.bench.small_steps"], capture_output=True, text=True, cwd=ROOT)
    return _judged(done)


def _judged(done):
    """(status 0, last line); the output of what failed goes to the error stream, for a person to read."""
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr, flush=True)
    lines = (done.stdout + done.stderr).split("\n")
    return done.returncode == 0, next((line.strip(" =") for line in reversed(lines) if line.strip()), "no output")


def compare_losses(dtype, sam, steps, bound, batch_size):
    """(whether CuPy's losses of every step are within `bound` of NumPy's, how far they are)."""
    ours, theirs = (losses_of(backend, dtype, sam, steps, batch_size) for backend in ("cupy", "numpy"))
    distances = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return all(distance <= bound for distance in distances), \
        f"{max(distances):.1e} apart in {steps} steps, allowed {bound:.0e}"


def losses_of(backend, dtype, sam, steps, batch_size):
    """The losses of the first steps on the digits, without TF32."""
    dataset = datasets.open_dataset("digits")
    options = TrainingOptions(backend=backend, dtype=dtype, sam=sam, batch_size=batch_size, epochs=2, tf32="off")
    session = Trainer(options, models.config_of(models.default_for(dataset.image_size)), dataset)
    order = range(steps * session.batch_size)
    with datasets.Loader(dataset.train, session.batch_size) as loader:
        return [session.train_step(*batch).read()[0] for batch in session.backend.prefetch_to_device(loader.batches(order))]


def train_the_digits(**changes):
    """(whether the default run reaches its accuracy, what it reached)."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        entries = train({"backend": "cupy", "out": os.path.join(folder, "run"), **changes})
    accuracy = entries[-1]["test_accuracy"]
    return abs(accuracy - DIGITS_ACCURACY) <= DIGITS_TOLERANCE, \
        f"{100 * accuracy:.2f} % after {len(entries)} epochs, expected {100 * DIGITS_ACCURACY:.2f} ± " \
        f"{100 * DIGITS_TOLERANCE:.1f} %"
