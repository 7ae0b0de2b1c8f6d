"""The rules of a normalizer-free network, each with the forms that it has been given elsewhere."""

import dataclasses

from ..checks import se, ws_conv


@dataclasses.dataclass(frozen=True)
class Rules:
    """The defaults are the networks of nfnumpy.models, bit for bit."""

    # layers
    standardization: ws_conv.Rules = ws_conv.Rules()
    bias: str = "added"
    kernel: str = "as it is"
    # nonlinearities
    nonlinearity: str = "the configured one"
    gamma: str = "the nonlinearity's"
    # squeeze-and-excite
    excitation: se.Rules = se.Rules()
    excitation_place: str = "the family's"
    # the residual branch
    strided: str = "the first 3×3"
    order: str = "conv1, conv1b"
    not_activated: str = "nothing"  # before this convolution of a block no nonlinearity acts
    branch_from: str = "the activated x"
    second_3x3: str = "there"
    groups: str = "of group_size channels"
    width: str = "the family's"
    # beta and alpha
    schedule: str = "reset after a stage's first block"
    beta: str = "1/expected_std"
    beta_place: str = "after the nonlinearity"
    alpha: str = "on the branch"
    skip_gain: str = "multiplied"
    # the shortcut
    identity: str = "x"
    shortcut_from: str = "the activated x"
    downsampling: str = "the family's"
    # stem and head
    stem_nonlinearity: str = "between convolutions"
    stem_strides: str = "as configured"
    stem_pool: str = "SAME"
    final_nonlinearity: str = "after the final convolution"
    head_pool: str = "mean"
    head_bias: str = "added"
    # going back
    constant: str = "nothing"  # what is taken out of the derivative
