"""OpenBLAS is told its kernels where it would choose badly, before NumPy loads it, and never against the user."""

import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from reference_tests.helpers.command_line import run_command

from nfnumpy.backend import openblas
from nfnumpy import train

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

# A Linux whose /proc/cpuinfo holds TEXT (None: has none), where the first look for NumPy prints the variable and ends.
MACHINE = """
    import builtins, io, os, sys
    opened, TEXT = builtins.open, {text!r}

    def open(path, *arguments, **options):
        if path != "/proc/cpuinfo":
            return opened(path, *arguments, **options)
        if TEXT is None:
            raise FileNotFoundError(path)
        return io.StringIO(TEXT)

    class Witness:
        def find_spec(self, name, path=None, target=None):
            if name == "numpy":
                print(repr(os.environ.get("OPENBLAS_CORETYPE")))
                sys.exit()

    builtins.open = open
"""


def python(code, **environment):
    """A fresh interpreter that runs `code`, with nothing but `environment` said to OpenBLAS."""
    inherited = {name: value for name, value in os.environ.items() if name != openblas.VARIABLE}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**inherited, "PYTHONPATH": str(ROOT), **environment})


def what_numpy_finds(text, **environment):
    """The variable when a fresh `import nfnumpy` on that machine comes to NumPy."""
    code = textwrap.dedent(MACHINE.format(text=text)) + "sys.meta_path.insert(0, Witness())\nimport nfnumpy\n"
    return eval(python(code, **environment).stdout)


@pytest.mark.parametrize("cpu", CPUS)
def test_numpy_finds_the_kernels_named_that_suit_the_cpu(cpu):
    text, kernels = CPUS[cpu]
    assert what_numpy_finds(text) == kernels


@pytest.mark.parametrize("wish", ["Haswell", "SkylakeX", "nonsense", ""])
def test_what_the_user_set_survives(wish):
    assert what_numpy_finds(CPUS["Zen 5"][0], OPENBLAS_CORETYPE=wish) == wish


@hypothesis.given(st.dictionaries(st.sampled_from(["vendor_id", "cpu family", "model", "flags"]), st.one_of(
    st.sampled_from(["AuthenticAMD", "26", "2", AVX512, "-2", "²", ""]), st.text())))
def test_no_processor_is_too_strange_to_be_judged(processor):
    assert openblas.suited(processor) in (None, openblas.KERNELS)


ZEN_5 = {"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2", "flags": AVX512}


def running(monkeypatch, *kernels):
    """As if OpenBLAS ran these kernels in this process."""
    monkeypatch.setattr(openblas, "in_use", lambda: list(kernels))


def test_where_numpy_is_loaded_nothing_is_set(monkeypatch):
    running(monkeypatch)
    environment = {}
    assert openblas.choose(ZEN_5, environment, {"numpy"}) is None and environment == {}


@pytest.mark.parametrize("kernels", [[], ["SkylakeX"], ["Cooperlake"], ["SapphireRapids", "SkylakeX"]])
def test_kernels_as_wide_as_the_cpu_are_no_matter_for_a_warning(monkeypatch, kernels):
    running(monkeypatch, *kernels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        openblas.choose(ZEN_5, {}, {"numpy"})


def test_nor_are_those_that_the_user_chose(monkeypatch):
    running(monkeypatch, "Haswell")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        openblas.choose(ZEN_5, {openblas.VARIABLE: "Haswell"}, {"numpy"})


def test_who_imports_numpy_first_and_loses_half_the_speed_is_told_once_what_to_do():
    code = textwrap.dedent(MACHINE.format(text=CPUS["Zen 5"][0])) + textwrap.dedent("""
        import numpy, threadpoolctl, warnings
        threadpoolctl.threadpool_info = lambda: [{"internal_api": "openblas", "architecture": "Haswell"}]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            import nfnumpy
            import nfnumpy.backend.openblas
        print([(str(one.message), one.filename) for one in told], os.environ.get("OPENBLAS_CORETYPE"))
    """)
    (message, place), = eval(python(code).stdout.replace(" None\n", ""))
    assert "import nfnumpy first, or set OPENBLAS_CORETYPE=SkylakeX" in message and "Haswell" in message
    assert "\n" not in message and place == "<string>"  # the line that imports nfnumpy, not one of ours


def test_a_training_run_says_once_which_kernels_were_chosen(capsys, monkeypatch, tmp_path):
    running(monkeypatch, "SkylakeX")
    for chosen, times in (("SkylakeX", 1), (None, 0), ("Zen", 0)):  # "Zen": asked for, but this OpenBLAS has none
        monkeypatch.setattr(openblas, "CHOSEN", chosen)
        _, printed, _ = run_command(train.main, capsys, monkeypatch, "--epochs", 1, "--batch-size", 512, "--out",
                                    tmp_path / str(chosen))
        assert printed.count("OpenBLAS runs SkylakeX kernels") == printed.count(openblas.VARIABLE) == times
