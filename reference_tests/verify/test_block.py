"""Single residual blocks: mistakes are named, correct blocks of any style conform."""

import pytest
import torch
from torch import nn

import nfnumpy as nf
from nfnumpy.ports import torch as torch_port
from nfnumpy.verify.checks.block import check_block
from reference_tests.helpers.wrong_ports import MISTAKES

CONFIGS = {"nfnet": nf.models.NFNetConfig(group_size=8), "nf_resnet": nf.models.NFResNetConfig(use_se=True),
           "nf_regnet": nf.models.NFRegNetConfig()}
BLOCKS = {"nfnet": torch_port.NFNetBlock, "nf_resnet": torch_port.NFResNetBlock,
          "nf_regnet": torch_port.NFRegNetBlock}
OF_A_BLOCK = ("nfnet: GELU by erf", "nfnet: gamma missing", "nfnet: eps 1e-06 added to variance",
              "nfnet: Bessel-corrected variance", "nfnet: symmetric padding", "nfnet: beta before the nonlinearity",
              "nfnet: shortcut from x", "nfnet: shortcut without beta", "nfnet: identity shortcut activated",
              "nfnet: skip gain missing", "nfnet: skip gain plus one", "nfnet: alpha missing", "nfnet: alpha squared",
              "nfnet: alpha on the shortcut", "nfnet: factor 2 missing", "nfnet: silu in place of relu",
              "nfnet: conv1 and conv1b exchanged", "nfnet: no nonlinearity before conv1b",
              "nfnet: stride on the second 3×3", "nfnet: average pool counts padding",
              "nfnet: shortcut by a strided 1×1", "nfnet: standardization not differentiated",
              "nfnet: skip gain not trained", "nf_resnet: shortcut averages first",
              "nf_regnet: squeeze-and-excite after the last nonlinearity",
              "nf_regnet: nonlinearity relu with another's gamma")


def factory_of(family, change=None):
    """A factory of blocks, every one of them changed in the same way."""
    def make(in_chs, out_chs, stride, alpha, beta):
        block = BLOCKS[family](CONFIGS[family], 1, in_chs, out_chs, stride, beta)
        block.alpha = alpha
        network = nn.Module()
        network.blocks, network.act = nn.ModuleList([block]), block.act
        if change:
            change(network)
        return block
    return make


@pytest.mark.parametrize("family", BLOCKS)
def test_blocks_of_the_three_families_conform(family):
    verdict = check_block(factory_of(family), framework="torch", examples=6)
    assert verdict.outcome == "conforms", str(verdict)


@pytest.mark.parametrize("name", OF_A_BLOCK)
def test_a_mistake_is_found_and_named(name):
    family, change, entry = MISTAKES[name]
    verdict = check_block(factory_of(family, change), framework="torch", examples=0)
    assert verdict.diagnosis == (entry,), str(verdict)


def test_a_block_without_beta_is_named():
    def make(in_channels, out_channels, stride, alpha, beta):
        return factory_of("nfnet")(in_channels, out_channels, stride, alpha, 1.0)
    assert check_block(make, framework="torch", examples=0).diagnosis == ("beta missing",)


def test_two_mistakes_are_named_together():
    def both(network):
        MISTAKES["nfnet: factor 2 missing"][1](network)
        MISTAKES["nfnet: alpha missing"][1](network)
    verdict = check_block(factory_of("nfnet", both), framework="torch", examples=0)
    assert set(verdict.diagnosis) == {"factor 2 missing", "alpha missing"}


def test_alpha_beta_and_stride_of_a_module_are_used():
    block = torch_port.NFNetBlock(CONFIGS["nfnet"], 1, 32, 48, 2, 0.9)
    verdict = check_block(block, examples=2)
    assert verdict.outcome == "conforms", str(verdict)
    assert "NFNet with gelu" in verdict.notes[0]


def test_alpha_and_beta_can_be_given():
    block = torch_port.NFNetBlock(CONFIGS["nfnet"], 1, 32, 32, 1, 0.9)
    assert check_block(block, examples=0, beta=0.5).outcome == "diverges"


def test_float32_blocks_conform_to_their_precision():
    class InFloat32(torch_port.NFNetBlock):
        def forward(self, x):
            self.float()
            return super().forward(x.float())
    verdict = check_block(InFloat32(CONFIGS["nfnet"], 1, 16, 16, 1, 0.9), examples=2)
    assert (verdict.outcome, verdict.precision) == ("conforms", "float32")


@pytest.mark.parametrize("target, options", [
    (nn.Linear(3, 4), {}), (nn.Conv2d(3, 4, 3), {}), (lambda in_chs, out_chs: 3, {}), (lambda in_chs: 1 / 0, {}),
    (lambda width: None, {}), (5, {}), (factory_of("nfnet"), {"family": "ResNet"}),
    (factory_of("nfnet"), {"activation": "mish"})])
def test_what_cannot_be_run_is_one_line(target, options):
    with pytest.raises(nf.InputError) as error:
        check_block(target, framework="torch", **options)
    assert str(error.value).startswith("block: ") and "\n" not in str(error.value)


def test_a_block_that_raises_is_one_line():
    class Broken(torch_port.NFNetBlock):
        def forward(self, x):
            raise torch.OutOfMemoryError("first\nsecond")
    with pytest.raises(nf.InputError, match=r"block: the target raised OutOfMemoryError: first \(test_block.py, line"):
        check_block(Broken(CONFIGS["nfnet"], 1, 16, 16, 1, 1.0))


def test_a_block_of_even_sizes_alone_is_checked_on_those_and_the_refusal_is_said():
    class Even(torch_port.NFNetBlock):
        def forward(self, x):
            if x.shape[2] % 2 or x.shape[3] % 2:
                raise ValueError("odd size")
            return super().forward(x)

    verdict = check_block(Even(CONFIGS["nfnet"], 1, 16, 16, 1, 1.0), examples=0)
    assert verdict.passed, str(verdict)
    assert any("x (3, 7, 5, 16)" in note and "ValueError: odd size" in note for note in verdict.notes), verdict.notes
