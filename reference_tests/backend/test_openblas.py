"""The variable that selects OpenBLAS's kernels: set before NumPy is loaded, on some CPUs, never over a user's value."""

import ast
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from nfnumpy import train
from nfnumpy.backend import openblas
from reference_tests.helpers.command_line import run_command

ROOT = Path(__file__).parents[2]
AVX2 = "fpu sse sse2 lm avx fma f16c avx2 bmi1 bmi2"
AVX512 = f"{AVX2} avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_bf16 avx512_vnni"


def cpuinfo(vendor, family, model, flags):
    """/proc/cpuinfo of two such processors."""
    fields = {"vendor_id": vendor, "cpu family": family, "model": model, "model name": "of a test", "flags": flags}
    return "\n\n".join("".join(f"{name}\t: {value}\n" for name, value in {"processor": k, **fields}.items())
                       for k in range(2))


CPUS = {
    "Zen 5": (cpuinfo("AuthenticAMD", 26, 2, AVX512), "SkylakeX"),
    "Zen 5 for desktops": (cpuinfo("AuthenticAMD", 26, 68, AVX512), "SkylakeX"),
    "Zen 5 of half the width": (cpuinfo("AuthenticAMD", 26, 36, AVX512), None),
    "Zen 5 whose hypervisor hides AVX-512": (cpuinfo("AuthenticAMD", 26, 2, AVX2), None),
    "Zen 5 whose hypervisor hides a part": (cpuinfo("AuthenticAMD", 26, 2, AVX512.replace(" avx512vl", "")), None),
    "Zen 4": (cpuinfo("AuthenticAMD", 25, 17, AVX512), None),
    "Zen 3": (cpuinfo("AuthenticAMD", 25, 1, AVX2), None),
    "Intel": (cpuinfo("GenuineIntel", 6, 143, AVX512), None),
    "Intel of that family": (cpuinfo("GenuineIntel", 26, 2, AVX512), None),
    "ARM": ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\n", None),
    "unknown": ("", None),
    "another system": (None, None),
}

# For each of CASES = [(text of /proc/cpuinfo, or None: there is none; environment)]: `import nfnumpy` runs up to the
# first import of NumPy, and the variable is printed as it is then.
MACHINES = """
    import builtins, io, os, sys
    opened, found = builtins.open, []

    def open(path, *arguments, **options):
        if path != "/proc/cpuinfo":
            return opened(path, *arguments, **options)
        if text is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    class Witness:
        def find_spec(self, name, path=None, target=None):
            if name == "numpy":
                raise InterruptedError

    builtins.open = open
    sys.meta_path.insert(0, Witness())
    for text, environment in CASES:
        os.environ.pop("OPENBLAS_CORETYPE", None)
        os.environ.update(environment)
        try:
            import nfnumpy
        except InterruptedError:
            found.append(os.environ.get("OPENBLAS_CORETYPE"))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("nfnumpy", "threadpoolctl")]:
            del sys.modules[name]
    print(found)
"""


def python(code):
    """The output of a new interpreter that runs `code`; the variable is not set in its environment."""
    inherited = {name: value for name, value in os.environ.items() if name != openblas.VARIABLE}
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True,
                          env={**inherited, "PYTHONPATH": str(ROOT)}).stdout


def test_importing_sets_the_kernels_that_suit_the_cpu():
    """The variable is set before NumPy is imported, and does not replace a value that the user has set."""
    cases = {cpu: (text, {}) for cpu, (text, _) in CPUS.items()}
    expected = {cpu: kernels for cpu, (_, kernels) in CPUS.items()}
    for choice in ("Haswell", "SkylakeX", "nonsense", ""):
        cases[f"chosen: {choice}"] = CPUS["Zen 5"][0], {openblas.VARIABLE: choice}
        expected[f"chosen: {choice}"] = choice
    found = ast.literal_eval(python(f"CASES = {list(cases.values())!r}\n" + textwrap.dedent(MACHINES)))
    assert dict(zip(cases, found, strict=True)) == expected


@hypothesis.given(st.dictionaries(st.sampled_from(["vendor_id", "cpu family", "model", "flags"]), st.one_of(
    st.sampled_from(["AuthenticAMD", "26", "2", AVX512, "-2", "²", ""]), st.text())))
def test_no_description_of_a_processor_is_an_error(processor):
    assert openblas.suited(processor) in (None, openblas.KERNELS)


ZEN_5 = {"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2", "flags": AVX512}


def running(monkeypatch, *kernels):
    """As if OpenBLAS ran these kernels in this process."""
    monkeypatch.setattr(openblas, "in_use", lambda: list(kernels))


def test_nothing_is_set_after_numpy_was_imported(monkeypatch):
    running(monkeypatch)
    environment = {}
    assert openblas.choose(ZEN_5, environment, {"numpy"}) is None and environment == {}


@pytest.mark.parametrize("kernels", [[], ["SkylakeX"], ["Cooperlake"], ["SapphireRapids", "SkylakeX"]])
def test_kernels_as_wide_as_the_cpu_give_no_warning(monkeypatch, kernels):
    running(monkeypatch, *kernels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert openblas.choose(ZEN_5, {}, {"numpy"}) is None


def test_kernels_that_the_user_chose_give_no_warning(monkeypatch):
    running(monkeypatch, "Haswell")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert openblas.choose(ZEN_5, {openblas.VARIABLE: "Haswell"}, {"numpy"}) is None


def test_importing_numpy_first_warns_where_it_halves_the_speed():
    (message, place), = ast.literal_eval(python(f"""
        import builtins, io
        opened = builtins.open
        builtins.open = lambda path, *arguments, **options: (
            io.StringIO({CPUS["Zen 5"][0]!r}) if path == "/proc/cpuinfo" else opened(path, *arguments, **options))
        import numpy, threadpoolctl, warnings
        threadpoolctl.threadpool_info = lambda: [{{"internal_api": "openblas", "architecture": "Haswell"}}]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import nfnumpy
            import nfnumpy.backend.openblas
        print([(str(one.message), one.filename) for one in caught])
    """))
    assert "import nfnumpy first, or set OPENBLAS_CORETYPE=SkylakeX" in message and "Haswell" in message
    assert "\n" not in message and place == "<string>"  # the line that imports nfnumpy


@pytest.mark.parametrize("chosen", [None, "Zen"])  # "Zen": chosen, but this OpenBLAS has no such kernels
def test_there_is_no_remark_on_kernels_not_chosen_here(monkeypatch, chosen):
    running(monkeypatch, "SkylakeX")
    monkeypatch.setattr(openblas, "CHOSEN", chosen)
    assert openblas.remark(2) is None


def test_a_training_run_prints_the_chosen_kernels_once(capsys, monkeypatch, tmp_path):
    running(monkeypatch, "SkylakeX")
    monkeypatch.setattr(openblas, "CHOSEN", "SkylakeX")
    _, printed, _ = run_command(train.main, capsys, monkeypatch, "--epochs", 1, "--batch-size", 512, "--out",
                                tmp_path / "run")
    assert printed.count("OpenBLAS runs SkylakeX kernels") == printed.count(openblas.VARIABLE) == 1
