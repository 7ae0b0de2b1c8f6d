"""The targets of reference_tests/verify, taken from the parameters of its tests: each stands there, with its names."""

import torch

from nfnumpy.ports import torch_networks
from reference_tests.audit.registry import TESTS, Case, add
from reference_tests.helpers import correct_ports, keras_layers, wrong_baselines, wrong_ports
from reference_tests.verify import (
    test_activation,
    test_agc,
    test_agc_uses,
    test_baseline_models,
    test_block,
    test_ema,
    test_keras_training,
    test_norm,
    test_sam,
    test_schedule,
    test_se,
    test_stochastic_depth,
    test_tensorflow,
    test_variants,
    test_ws_conv,
    test_ws_conv_forms,
)

BENIGN = {variant.name for _, catalogue in test_variants.CATALOGUES.values() for variant in catalogue
          if variant.benign} | {"gamma and beta missing"}  # of a normalization that has none
EXPECTED = ("names", "name", "diagnosis")


def parameters_of(test):
    """A dict for each row of a test's only parametrization."""
    mark, = (mark for mark in test.pytestmark if mark.name == "parametrize")
    names, rows = mark.args
    names = [name.strip() for name in names.split(",")]
    for row in rows:
        yield dict(zip(names, [row] if len(names) == 1 else row, strict=True))


def of_target(kind, framework, target, names=(), options=()):
    """One Case; what is benign is no mistake."""
    names = frozenset([names] if isinstance(names, str) else names)
    causes, forms = (frozenset(), names) if names <= BENIGN else (names, frozenset())
    title = getattr(target, "__name__", type(target).__name__)
    if title == "<lambda>":
        options = {"framework": framework, **dict(options)}
    add(Case(kind, framework, ", ".join((title, *sorted(names))), lambda: (target, dict(options)), causes, forms, TESTS,
             is_quick=False))


def of_test(kind, framework, test, options=()):
    """The rows of one test."""
    for row in parameters_of(test):
        names = next((row[name] for name in EXPECTED if name in row), ())
        norm = {"norm": row["norm"]} if "norm" in row else {}
        of_target(row.get("kind", kind), framework, row["target"], names,
                  {**dict(options), **norm, **row.get("options", {})})


for kind, tests in {
        "activation": (test_activation.test_right_ones_conform, test_activation.test_benign_forms_are_named,
                       test_activation.test_mistakes_are_named),
        "agc": (test_agc.test_mistakes_are_named, test_agc_uses.test_right_ones_conform_in_every_call_shape,
                test_agc_uses.test_faults_of_use_are_named),
        "ws_conv": (test_ws_conv.test_benign_forms_are_named_with_the_size_of_the_difference,
                    test_ws_conv.test_a_mistake_is_named_and_shown_by_a_small_example,
                    test_ws_conv_forms.test_a_padding_that_can_be_told_is_told,
                    test_ws_conv_forms.test_mistakes_are_named),
        "sam": (test_sam.test_right_ones_conform, test_sam.test_mistakes_are_named),
        "norm": (test_norm.test_another_normalization_than_was_meant_is_named,),
        "ema": (test_ema.test_another_warm_up_is_a_variant, test_ema.test_mistakes_are_named),
        "schedule": (test_schedule.test_benign_forms_are_named, test_schedule.test_mistakes_are_named)}.items():
    for test in tests:
        of_test(kind, "torch", test)

for target, name in test_se.MISTAKES.items():
    of_target("se", "torch", target, name)
for row in parameters_of(test_se.test_correct_modules_in_many_styles_conform):
    if row["target"] is not test_se.in_numpy:
        of_target("se", "torch", row["target"])
for target, name in test_norm.MISTAKES.items():
    of_target("norm", "torch", target, name)
for style, (target, _) in test_norm.CORRECT.items():
    framework = "numpy" if style.startswith("NumPy") else "torch"
    of_target("norm", framework, target, options={"framework": framework})
for row in parameters_of(test_ws_conv.test_a_right_one_conforms_however_it_is_written):
    of_target("ws_conv", "numpy" if row["target"].__name__ in ("of_numpy", "standardize_weight") else "torch",
              row["target"])
for target in (test_stochastic_depth.torch_function, test_stochastic_depth.of_survival, test_stochastic_depth.DropPath):
    of_target("stochastic_depth", "torch", target)

of_test(None, "tensorflow", test_keras_training.test_right_ones_conform)
of_test(None, "tensorflow", test_keras_training.test_mistakes_are_named)
of_test(None, "tensorflow", test_tensorflow.test_right_ones_conform, {"framework": "tensorflow"})
of_test(None, "tensorflow", test_tensorflow.test_mistakes_are_named)
for kind, targets in keras_layers.RIGHT.items():
    for target in targets:
        of_target(kind, "tensorflow", target, options={"framework": "keras"})
for target, (kind, name) in (keras_layers.MISTAKES | keras_layers.BENIGN).items():
    of_target(kind, "tensorflow", target, name)


def of_network(kind, title, make, names=(), **options):
    """A Case whose target is made when it is checked."""
    def made():
        torch.manual_seed(0)
        return make(), options

    names = frozenset(names)
    causes, forms = (frozenset(), names) if names <= BENIGN else (names, frozenset())
    add(Case(kind, "torch", title, made, causes, forms, TESTS, is_quick=False))


for title, (family, change, name) in wrong_ports.MISTAKES.items():
    config = wrong_ports.CONFIGS[family]
    of_network("model", title, lambda title=title: wrong_ports.mistaken(title)[0], [name], config=config, size=24)
    if title in test_block.OF_A_BLOCK:
        of_network("block", title, lambda family=family, change=change: test_block.factory_of(family, change), [name],
                   framework="torch")
for family in test_block.BLOCKS:
    of_network("block", family, lambda family=family: test_block.factory_of(family), framework="torch")
for style, (family, make) in correct_ports.STYLES.items():
    config = wrong_ports.CONFIGS[family]
    of_network("model", style, lambda make=make, config=config: make(config), config=config, size=24)
for title, (family, _, names) in wrong_baselines.MISTAKES.items():
    of_network("model", title, lambda title=title: wrong_baselines.mistaken(title)[0], names,
               config=wrong_baselines.CONFIGS[family], size=20)
for family, config in wrong_baselines.CONFIGS.items():
    of_network("model", family, lambda config=config: torch_networks.from_config(config), config=config,
               size=test_baseline_models.SIZES.get(family, 20))
