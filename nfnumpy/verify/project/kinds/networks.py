"""Normalizer-free residual blocks, and networks that nfnumpy has too."""

import functools
import re

from ....models import names
from . import Rule, called, first_in, words_of

SCALES = {"alpha": {"alpha", "residual_alpha"}, "beta": {"beta", "expected_std", "expected_var", "var"},
          "skip gain": {"skip_gain", "skipinit_gain", "skip_init", "skipinit", "skip_scale"}}
MAKERS = re.compile(r"net|inception|create|build_model|from_config|_make")
CONVOLUTION = re.compile(r"conv(?!ert)")
PARTS = ("stem", "initial_conv", "blocks", "stages", "layer1", "layers", "body", "features", "final_conv", "head", "fc",
         "linear", "dense", "logits", "classifier")
BASES = ("module", "model", "layer", "network", "resnet", "normfreenet", "nfnet")
PREFIXES = ("dm_", "tf_", "get_", "make_", "build_", "create_", "torch_", "jax_")
SPELLINGS = (  # (how others write a name, plainly spelled; how nfnumpy does)
    (re.compile(r"resnet(\d+)v2"), r"resnetv2\1"), (re.compile(r"mobilenet(?:v1)?(?:100)?"), "mobilenetv1"),
    (re.compile(r"mobilenetv2100"), "mobilenetv2"))


def _is_block(definition):
    return {what for what, known in SCALES.items() if known & definition.names}


def _block_signature(definition):
    given = definition.parameters
    scale = first_in(given, ("alpha", "beta", "expected_std", "expected_var", "skipinit_gain", "skip_gain"))
    return f"it takes {scale}" if scale and definition.is_class and len(given) >= 3 else ""


def _block_source(definition):
    scales = _is_block(definition)
    convolves = any(CONVOLUTION.search(call.name) for call in definition.calls)
    return f"convolutions, {' and '.join(sorted(scales))}" if len(scales) >= 2 and convolves else ""


@functools.cache
def _plain_names():
    """{the name of a network of nfnumpy, plainly spelled: the name}."""
    return {plain(name): name for name in names()}


def plain(name: str) -> str:
    """A name without its underscores and usual prefixes, in lower case."""
    text = name.lower()
    for prefix in PREFIXES:
        text = text.removeprefix(prefix)
    return text.replace("_", "")


def variant_named(name: str) -> str | None:
    """The network of nfnumpy whose name a function has, or None."""
    text = plain(name)
    spelled_here = next((pattern.sub(ours, text) for pattern, ours in SPELLINGS if pattern.fullmatch(text)), text)
    return _plain_names().get(spelled_here)


def _model_name(definition):
    if definition.name.startswith("_"):
        return ""
    if not definition.is_class and variant_named(definition.name):
        return f"it has the name of {variant_named(definition.name)}"
    return called(r"(^|_)nf_?net|(^|_)nf_?(res|reg)_?net|norm(alizer)?_?free_?(res_?)?net")(definition)


def _model_signature(definition):
    classes = first_in(definition.parameters, ("num_classes", "n_classes", "classes", "num_labels", "class_num"))
    if definition.is_class:
        base = next((base for base in definition.bases if base.lower() in BASES), None)
        return f"its base is {base}, and it takes {classes}" if base and classes else ""
    if classes or "pretrained" in definition.parameters:
        return f"it takes {classes or 'pretrained'}"
    return "it needs no arguments" if set(definition.parameters) <= {"kwargs", "args", "pretrained"} else ""


def _model_source(definition):
    if definition.is_class:
        parts = sorted(set(PARTS) & definition.names)
        convolves = any(CONVOLUTION.search(call.name) or "block" in call.name for call in definition.calls)
        return f"it has {' and '.join(parts[:3])}" if len(parts) >= 2 and convolves else ""
    made = next((call.name for call in definition.calls if MAKERS.search(call.name)), None)
    return f"it calls {made}" if made else ""


RULES = (
    Rule("block", called(r"block|bottleneck|residual|(^|_)unit(_|$)"), _block_signature, _block_source,
         words_of("stage", "test", "config", "attention", "stem", "head", "net", "group", "sequence"),
         needs=("source",)),
    Rule("model", _model_name, _model_signature, _model_source,
         words_of("block", "stage", "stem", "head", "cfg", "config", "trainer", "wrapper", "test", "weights", "loss",
                  "bottleneck", "conv", "layer", "cfgs", "params", "backbone"), needs=("name", "source")),
)
