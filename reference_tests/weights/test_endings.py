"""What is written agrees with the ending of its name; a name without a known ending says nothing."""

import pytest

import nfnumpy as nf
from nfnumpy.weights import __main__ as command
from nfnumpy.weights.endings import ENDINGS, check_ending
from reference_tests.helpers.command_line import expect_one_line, run_command

RIGHT = [(kind, ending) for kind, endings in ENDINGS.items() for ending in endings]


@pytest.mark.parametrize("kind, ending", RIGHT)
def test_each_kind_has_its_endings_in_capitals_too_and_no_ending_of_another(kind, ending):
    for name in (f"a{ending}", f"a{ending.upper()}", f"a.b{ending}", "a", "a.weights", f"{ending}/a", "/dev/stdout"):
        check_ending(name, kind)
    for other in ENDINGS.keys() - {kind}:
        with pytest.raises(nf.InputError, match=f"name it a{ENDINGS[other][0]}$"):
            check_ending(f"a{ending}", other)


@pytest.mark.parametrize("arguments, wanted", [
    (["convert", "in", "out.pth", "--to", "timm"], "out.safetensors"),
    (["convert", "in", "out.onnx", "--to", "nfnumpy"], "out.safetensors"),
    (["convert", "in", "F0_haiku.npz", "--to", "haiku"], "F0_haiku.pickle"),
    (["convert", "in", "out.safetensors", "--to", "haiku"], "out.pickle"),
    (["export", "in", "out.safetensors"], "out.onnx"),
])
def test_a_contradicting_ending_is_one_line_that_names_the_right_one_before_anything_is_read(
        capsys, monkeypatch, tmp_path, arguments, wanted):
    monkeypatch.chdir(tmp_path)
    status, printed, error = run_command(command.main, capsys, monkeypatch, *arguments)
    expect_one_line(status, error, arguments[2], f"name it {wanted}")
    assert not printed and not list(tmp_path.iterdir())
