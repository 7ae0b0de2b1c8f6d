"""What a run says of what will take long."""

from types import SimpleNamespace

import pytest

from nfnumpy.training import TrainingOptions, report, run


@pytest.mark.parametrize("waited, seconds, decoder, expected", [
    (52.0, 72.0, "pillow", "52 s of 72 s"), (52.0, 72.0, "draft", "--workers"), (30.0, 72.0, "pillow", ""),
    (8.0, 9.0, "pillow", "")])
def test_an_epoch_that_mostly_waits_for_images_says_what_helps(capsys, waited, seconds, decoder, expected):
    report.log_waiting(waited, seconds, TrainingOptions(decoder=decoder))
    printed = capsys.readouterr().out
    assert expected in printed and bool(printed) == bool(expected)
    assert ("--decoder draft" in printed) == (bool(expected) and decoder == "pillow")


@pytest.mark.parametrize("options, size, is_said", [
    ({}, 192, True), ({}, 64, False), ({"model": "nfnet_f0"}, 192, False), ({"backend": "cupy"}, 192, False)])
def test_a_large_network_that_nobody_asked_for_is_said_to_take_long_on_a_processor(capsys, options, size, is_said):
    run._model(TrainingOptions(**options), SimpleNamespace(image_size=size, classes=("cat", "dog")))
    assert ("recipe:small_folder" in capsys.readouterr().out) == is_said
