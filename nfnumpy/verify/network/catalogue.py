"""The known forms of a block and of a whole network."""

import dataclasses

from ..checks import se, ws_conv
from ..variants import Entry


def _of(part, catalogue, sentence=""):
    """A layer's catalogue as entries of a network's: `part` is the field of Rules that holds the layer's rules."""
    for entry in catalogue:
        yield dataclasses.replace(entry, changes={f"{part}.{key}": value for key, value in entry.changes.items()},
                                  explanation=entry.explanation + sentence)


def _nonlinearities():
    yield Entry("GELU by erf", {"nonlinearity": "gelu_erf"}, "The GELU is the exact one, x·Φ(x); the released networks "
                "have its tanh approximation. Values differ by at most 5e-4, and networks trained with either run with "
                "the other.", harmless=True)
    yield Entry("GELU by tanh", {"nonlinearity": "gelu"}, "The nonlinearity is the GELU in its tanh form.")
    for name in ("relu", "silu", "elu", "celu", "selu", "leaky_relu", "relu6", "tanh", "softplus", "sigmoid",
                 "identity"):
        yield Entry(f"nonlinearity {name}", {"nonlinearity": name}, f"The nonlinearity is {name}, with its own gamma, "
                    f"everywhere.")
        yield Entry(f"nonlinearity {name} with another's gamma", {
            "nonlinearity": name, "gamma": "the configured nonlinearity's"}, f"The nonlinearity is {name} everywhere, "
            f"multiplied by the gamma of the nonlinearity that belongs there.")


GAMMA = (
    Entry("gamma missing", {"gamma": "left out"}, "Nonlinearities are not multiplied by gamma, so that the signal "
          "fades from layer to layer. Right only if gamma is folded into all weights that follow, and into the head."),
    Entry("gamma applied twice", {"gamma": "squared"}, "Nonlinearities are multiplied by gamma², as where gamma is in "
          "the activation and in the weight too."),
    *(Entry(f"gamma of {name}", {"gamma": f"{name}'s"}, f"The nonlinearity is multiplied by the gamma of {name}, which "
            f"is not its own.") for name in ("relu", "gelu", "silu")),
    *(Entry(f"gamma of {name} in every weight", {"gamma": "left out", "standardization.folded_gamma": name},
            "Gamma is folded into every convolution's weight and no longer in the activation. So the first convolution "
            "is multiplied by it, though no nonlinearity comes before it, and the head's linear layer lacks it.")
      for name in ("relu", "gelu", "silu")),
)

BETA = (
    Entry("beta missing", {"beta": "left out"}, "What enters a block is not divided by the expected standard "
          "deviation."),
    Entry("beta inverted", {"beta": "expected_std"}, "What enters a block is multiplied by the expected standard "
          "deviation; it should be divided by it."),
    Entry("beta is 1/variance", {"beta": "1/expected_std²"}, "What enters a block is divided by the expected variance: "
          "the root is missing."),
    Entry("beta is the fourth root", {"beta": "1/√expected_std"}, "What enters a block is divided by the root of the "
          "expected standard deviation: the root is taken twice."),
    Entry("beta before the nonlinearity", {"beta_place": "before the nonlinearity"}, "x is scaled by beta and then "
          "goes through the nonlinearity, as the first paper writes it; the released networks scale what comes out. "
          "With relu both are one."),
    Entry("beta twice", {"beta_place": "both sides of the nonlinearity"}, "beta is applied before the nonlinearity and "
          "after it."),
)

SCHEDULES = (
    Entry("expected_std never reset", {"schedule": "never reset"}, "The expected variance grows through the whole "
          "network; a stage's first block should set it back to 1, because its shortcut normalizes the signal."),
    Entry("expected_std reset too early", {"schedule": "reset before a stage's first block"}, "The expected variance "
          "is set to 1 before a stage's first block, whose own beta should still use that of the stage before."),
    Entry("alpha forgotten after the reset", {"schedule": "reset to 1 after a stage's first block, alpha forgotten"},
          "After a stage's first block the expected variance is 1; it should be 1 + alpha²."),
    Entry("alpha not squared in expected_std", {"schedule": "alpha not squared"}, "The expected variance grows by "
          "alpha a block; it should grow by alpha²."),
    Entry("alpha added to expected_std", {"schedule": "alpha added"}, "The expected standard deviation grows by alpha "
          "a block; its square should grow by alpha²."),
    Entry("alpha to the fourth in expected_std", {"schedule": "alpha to the fourth"}, "The expected variance grows by "
          "alpha⁴ a block; it should grow by alpha²."),
)

BRANCH = (
    *(Entry(f"stride on {name}", {"strided": name}, f"{name[0].upper()}{name[1:]} convolution of a block carries the "
            f"stride; the first 3×3 should.") for name in ("the first 1×1", "the second 3×3", "the last 1×1")),
    Entry("conv1 and conv1b exchanged", {"order": "conv1b, conv1"}, "The two 3×3 convolutions of a block are run in "
          "the wrong order, or their weights are loaded into each other."),
    *(Entry(f"no nonlinearity before {name}", {"not_activated": name}, f"The nonlinearity before a block's {name} is "
            f"missing.") for name in ("conv1", "conv1b", "conv2")),
    Entry("nonlinearity at the branch's end", {"not_activated": "an additional one after conv2"}, "A nonlinearity "
          "follows a block's last convolution; the branch should end with that convolution."),
    Entry("branch from x", {"branch_from": "x"}, "The branch starts from x; it should start from beta·activation(x)."),
    Entry("conv1b missing", {"second_3x3": "left out"}, "The second 3×3 convolution of NFNet blocks is missing."),
    Entry("group size and number of groups exchanged", {"groups": "as many as group_size"}, "There are group_size "
          "groups; there should be groups of group_size channels."),
    Entry("3×3 convolutions not grouped", {"groups": "one"}, "The 3×3 convolutions have one group."),
    *(Entry(f"bottleneck {rule}", {"width": rule}, f"The width of the bottleneck is taken {rule}; in these blocks it "
            f"is not.") for rule in ("from the block's input", "from the block's output")),
    Entry("bottleneck expanded in the first block too", {"width": "expanded in the first block too"}, "The network's "
          "first block has an expanded bottleneck; its expansion should be 1."),
    Entry("bottleneck as wide as the output", {"width": "as wide as the output"}, "The bottleneck is not narrower than "
          "the block's output."),
)

EXCITATION = (
    *_of("excitation", se.CATALOGUE),
    Entry("squeeze-and-excite missing", {"excitation_place": "left out"}, "Squeeze-and-excite is not applied."),
    Entry("squeeze-and-excite in the other family's place", {"excitation_place": "the other family's"}, "In NFNets and "
          "NF-ResNets it acts at the end of the branch, in NF-RegNets before the last nonlinearity; here it is the "
          "other way round."),
    Entry("squeeze-and-excite after the last nonlinearity", {"excitation_place": "after the last nonlinearity"},
          "Squeeze-and-excite acts between the last nonlinearity of the branch and its last convolution."),
    Entry("squeeze-and-excite on the sum", {"excitation_place": "on the sum"}, "Squeeze-and-excite acts on the block's "
          "output; it should act on the branch before it is added."),
    Entry("squeeze-and-excite on the shortcut", {"excitation_place": "on the shortcut"}, "Squeeze-and-excite acts on "
          "the shortcut; it should act on the branch."),
)

JOIN = (
    Entry("skip gain missing", {"skip_gain": "left out"}, "The branch is not multiplied by a learned skip gain "
          "(SkipInit), which starts at 0."),
    Entry("skip gain plus one", {"skip_gain": "one added"}, "The branch is multiplied by 1 + skip gain."),
    Entry("skip gain applied twice", {"skip_gain": "squared"}, "The branch is multiplied by the skip gain's square."),
    Entry("alpha missing", {"alpha": "left out"}, "The branch is not multiplied by alpha."),
    Entry("alpha squared", {"alpha": "squared"}, "The branch is multiplied by alpha²: alpha is applied twice."),
    Entry("root of alpha", {"alpha": "its root"}, "The branch is multiplied by √alpha."),
    Entry("alpha on the shortcut", {"alpha": "on the shortcut"}, "alpha multiplies the shortcut and not the branch."),
    Entry("alpha on the sum", {"alpha": "on both sides of the sum"}, "alpha multiplies shortcut and branch alike."),
)

SHORTCUT = (
    Entry("shortcut from x", {"shortcut_from": "x"}, "In transition blocks the shortcut's convolution sees x; it "
          "should see beta·activation(x)."),
    Entry("shortcut without beta", {"shortcut_from": "the activated x without beta"}, "In transition blocks the "
          "shortcut's convolution sees activation(x); it should see beta·activation(x)."),
    Entry("shortcut from beta times x", {"shortcut_from": "x times beta"}, "In transition blocks the shortcut's "
          "convolution sees beta·x; it should see beta·activation(x)."),
    Entry("identity shortcut activated", {"identity": "the activated x"}, "Where the shortcut has no convolution it is "
          "beta·activation(x); it should be x."),
    Entry("beta on the identity shortcut", {"identity": "x times beta"}, "Where the shortcut has no convolution it is "
          "beta·x; it should be x."),
    Entry("identity shortcut missing", {"identity": "nothing"}, "Where the shortcut has no convolution there is none "
          "at all."),
    Entry("shortcut by a strided 1×1", {"downsampling": "strided 1×1"}, "Strided blocks take every other pixel with a "
          "strided 1×1 convolution, as NF-ResNets do; here they should average 2×2 pixels first."),
    Entry("shortcut averages first", {"downsampling": "mean"}, "Strided blocks average 2×2 pixels before the "
          "shortcut's 1×1 convolution, as NFNets do; in NF-ResNets that convolution is strided."),
    Entry("shortcut pools the maximum", {"downsampling": "max"}, "Strided blocks take the maximum of 2×2 pixels; it "
          "should be the mean."),
    Entry("shortcut pools the maximum after its 1×1", {"downsampling": "max after the 1×1"}, "Strided blocks take the "
          "maximum of 2×2 pixels after the 1×1 convolution; it should be the mean."),
    Entry("average pool counts padding", {"downsampling": "padding counted"}, "At the edge of images of odd size the "
          "average is divided by 4, though fewer real pixels are there."),
    Entry("shortcut averages 3×3", {"downsampling": "3×3"}, "Strided blocks average 3×3 pixels; it should be 2×2."),
)

LAYERS = (
    *_nonlinearities(), *GAMMA, *_of("standardization", ws_conv.CATALOGUE),
    Entry("bias missing", {"bias": "left out"}, "The convolutions have no bias."),
    Entry("kernels flipped", {"kernel": "flipped"}, "Kernels are turned by 180°: a convolution in the mathematical "
          "sense, where networks have the cross-correlation."),
    Entry("kernels transposed", {"kernel": "transposed"}, "Rows and columns of the kernels are exchanged."),
)

GRADIENTS = (
    Entry("standardization not differentiated", {"constant": "the statistics of standardization"}, "The forward pass "
          "is right, but going back the weights' mean and variance are taken as constants (detached)."),
    Entry("skip gain not trained", {"constant": "the skip gain"}, "The forward pass is right, but no gradient reaches "
          "the skip gains."),
    Entry("no gradient through the shortcut", {"constant": "the shortcut"}, "The forward pass is right, but no "
          "gradient goes back through shortcuts."),
    Entry("no gradient through identity shortcuts", {"constant": "the identity"}, "The forward pass is right, but no "
          "gradient goes back through shortcuts without convolution."),
)

ENDS = (
    Entry("nonlinearity after the stem", {"stem_nonlinearity": "after the last convolution too"}, "A nonlinearity "
          "follows the stem's last convolution; the first block brings its own."),
    Entry("no nonlinearities in the stem", {"stem_nonlinearity": "left out"}, "Nothing acts between the stem's "
          "convolutions."),
    Entry("strides of the stem reversed", {"stem_strides": "reversed"}, "The stem's strides are assigned last to "
          "first."),
    Entry("strides of the stem too early", {"stem_strides": "as early as possible"}, "The stem's first convolutions "
          "carry all the strides; the last should carry the second one."),
    Entry("symmetric padding of the stem's pool", {"stem_pool": "symmetric"}, "The stem's max pool pads one pixel on "
          "every side; SAME pads even images at the end only.", harmless=True),
    Entry("stem's pool missing", {"stem_pool": "left out"}, "The stem has no max pool."),
    Entry("stem's pool averages", {"stem_pool": "mean"}, "The stem's pool takes the mean; it should be the maximum."),
    Entry("final nonlinearity missing", {"final_nonlinearity": "left out"}, "Nothing acts before the global mean."),
    Entry("nonlinearity before the final convolution", {"final_nonlinearity": "before the final convolution"}, "The "
          "last nonlinearity comes before the final convolution; it should come after it."),
    Entry("nonlinearity after pooling", {"final_nonlinearity": "after pooling"}, "The last nonlinearity acts on the "
          "pooled features; it should act on every pixel before the mean."),
    Entry("head takes the maximum", {"head_pool": "max"}, "The features' maximum over the image is taken; it should be "
          "their mean."),
    Entry("head takes the sum", {"head_pool": "sum"}, "The features are added up over the image and not averaged."),
    Entry("bias of the head missing", {"head_bias": "left out"}, "The last linear layer has no bias."),
)

OF_BLOCKS = (*LAYERS, *BETA, *BRANCH, *EXCITATION, *JOIN, *SHORTCUT, *GRADIENTS)
OF_NETWORKS = (*OF_BLOCKS, *SCHEDULES, *ENDS)
OF_SHAPES = tuple(entry for entry in OF_BLOCKS if set(entry.changes) & {"groups", "width", "second_3x3"}
                  or "excitation.hidden" in entry.changes or entry.changes.get("excitation_place") ==
                  "the other family's")
