"""Several mistakes at once in networks and blocks of PyTorch: those of helpers/wrong_ports and wrong_baselines."""

import torch

from nfnumpy.ports import torch as torch_port, torch_networks
from reference_tests.audit.registry import Case, add
from reference_tests.helpers import wrong_baselines, wrong_ports
from reference_tests.verify.test_block import factory_of

NETWORKS = {
    "nfnet": (("Bessel-corrected variance", "shortcut from x"), ("gamma missing", "strides of the stem too early"),
              ("alpha squared", "final nonlinearity missing"), ("beta is 1/variance", "factor 2 missing"),
              ("fan-in counts the output channels", "average pool counts padding"),
              ("skip gain plus one", "nonlinearity after the stem"), ("symmetric padding", "beta inverted"),
              ("silu in place of relu", "kernels flipped", "head takes the maximum"),
              ("Bessel-corrected variance", "alpha missing", "stride on the second 3×3"),
              ("shortcut without beta", "factor 2 missing", "expected_std never reset"),
              ("GELU by erf", "skip gain missing", "no nonlinearity before conv1b")),
    "nf_resnet": (("factor 2 missing", "stem's pool missing"), ("nonlinearity silu", "expected_std never reset")),
    "nf_regnet": (("alpha missing", "squeeze-and-excite missing"),
                  ("average pool counts padding", "nonlinearity relu with another's gamma"))}
BLOCKS = {
    "nfnet": (("Bessel-corrected variance", "alpha missing"), ("shortcut from x", "silu in place of relu"),
              ("skip gain plus one", "average pool counts padding"),
              ("gamma missing", "shortcut without beta", "factor 2 missing"),
              ("symmetric padding", "alpha squared", "silu in place of relu")),
    "nf_regnet": (("nonlinearity relu with another's gamma", "squeeze-and-excite after the last nonlinearity"),)}
BASELINES = (
    ("resnet: momentum", "resnet: stride"), ("resnet: eps", "resnet: pool"),
    ("resnet: moments of the batch", "resnet: padding"), ("resnet: Keras's momentum", "resnet: relu before the sum"),
    ("resnet_v2: shortcut", "resnet_v2: head"), ("se_resnext_d: factor", "se_resnext_d: sum"),
    ("efficientnet: relu", "efficientnet: padding"), ("efficientnet: width", "efficientnet: not linear"),
    ("mobilenet_v2: not linear", "resnet: momentum"), ("densenet: order", "densenet: maximum", "resnet: momentum"),
    ("fixup: multiplier", "fixup: shortcut"), ("resnet: momentum", "resnet: stride", "resnet: pool"),
    ("efficientnet: relu", "efficientnet: residual", "efficientnet: padding"))


def changed(family, causes):
    """A change of a network by all of these mistakes."""
    def change(network):
        for cause in causes:
            wrong_ports.MISTAKES[f"{family}: {cause}"][1](network)
    return change


def of_network(family, causes):
    def make():
        torch.manual_seed(0)
        network = torch_port.from_config(wrong_ports.CONFIGS[family])
        changed(family, causes)(network)
        return network, {"config": wrong_ports.CONFIGS[family], "size": 24}

    add(Case("model", "torch", f"{family}: {', '.join(causes)}", make, frozenset(causes), frozenset(), "torch_networks",
             is_quick=False))


def of_block(family, causes):
    add(Case("block", "torch", f"{family}: {', '.join(causes)}",
             lambda: (factory_of(family, changed(family, causes)), {"framework": "torch"}), frozenset(causes),
             frozenset(), "torch_networks", is_quick=False))


def of_baseline(titles):
    family = wrong_baselines.MISTAKES[titles[0]][0]
    config = wrong_baselines.CONFIGS[family]
    causes = frozenset(name for title in titles for name in wrong_baselines.MISTAKES[title][2])

    def make():
        torch.manual_seed(0)
        network = torch_networks.from_config(config)
        for title in titles:
            wrong_baselines.MISTAKES[title][1](network)
        return network, {"config": config, "size": 20}

    add(Case("model", "torch", f"{family}: {', '.join(sorted(causes))}", make, causes, frozenset(), "torch_networks",
             is_quick=False))


for family, several in NETWORKS.items():
    for causes in several:
        of_network(family, causes)
for family, several in BLOCKS.items():
    for causes in several:
        of_block(family, causes)
for titles in BASELINES:
    of_baseline(titles)
