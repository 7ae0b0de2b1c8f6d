"""The known variants of adaptive gradient clipping."""

import numpy as np

from ...optim.agc import is_single_unit
from . import KnownVariant
from .agc import USUAL, decayed, is_last_weight, sum_of_squares


def _by_the_quotient(g, limit, divisor, c):
    return limit / divisor < 1.0


def _root_mean_square(array, axes):
    squares = sum_of_squares(array, axes)
    return np.sqrt(squares / array.dtype.type(max(1, array.size // squares.size)))


def _l1_norm(array, axes):
    return np.sum(np.abs(array), axis=axes, keepdims=True)


def _largest_magnitude(array, axes):
    magnitude = np.abs(array)
    return magnitude if axes == () else np.max(magnitude, axis=axes, keepdims=True)


def _decay_before_clipping(clip, grads, params, rate):
    return clip(decayed(grads, params, rate))


def _decay_if(chosen):
    def decay(clip, grads, params, rate):
        whole = decayed(clip(grads), params, rate)
        kept = clip(grads)
        return {name: whole[name] if chosen(name, grad.shape) else kept[name] for name, grad in grads.items()}
    return decay


def _no_decay(clip, grads, params, rate):
    return clip(grads)


def _not_clipped(clip, grads):
    return dict(grads)


def _nothing(clip, grads):
    return {name: np.zeros_like(grad) for name, grad in grads.items()}


def _those_before(ends):
    """Only the parameters before those called `ends` are clipped, in their order."""
    def use(clip, grads):
        chosen = clip(dict(grads))
        names = list(grads)
        return {name: chosen[name] if names.index(name) < ends else grads[name] for name in names}
    return use


def _each_pass(clip, grads):
    """Two passes with the shares 2 and -1 of the gradient."""
    first = clip({name: 2.0 * grad for name, grad in grads.items()})
    second = clip({name: -grad for name, grad in grads.items()})
    return {name: first[name] + second[name] for name in grads}


def _each_pass_and_the_sum(clip, grads):
    first = clip({name: 2.0 * grad for name, grad in grads.items()})
    return clip({name: first[name] - grad for name, grad in grads.items()})


def _as_a_whole_if(chosen):
    return lambda shape: None if chosen(shape) else USUAL


def _number_by_number_if(chosen):
    return lambda shape: () if chosen(shape) else USUAL


def _has_one_axis(shape):
    return len(shape) <= 1


def _has_one_output(shape):
    return len(shape) > 1 and shape[-1] == 1


def _is_pointwise(shape):
    return len(shape) == 4 and shape[:2] == (1, 1) and not is_single_unit(shape)


def _is_depthwise(shape):
    return len(shape) == 4 and shape[2] == 1 and not is_single_unit(shape)


def _is_vector_or_last_weight(name, shape):
    return is_single_unit(shape) or is_last_weight(name, shape)


def _is_linear(name, shape):
    return is_last_weight(name, shape) or (len(shape) == 2 and not is_single_unit(shape))


USES = (
    KnownVariant("parameters given by a generator are used up", {"generator": _not_clipped}, "The parameters are kept "
                 "as they are given: a generator, such as model.parameters(), is empty after its first use, and then "
                 "nothing is clipped. Keep list(parameters)."),
    KnownVariant("only the first step clips", {"second": _not_clipped, "generator": _not_clipped}, "From the second "
                 "step on nothing is clipped."),
    KnownVariant("the first step does not clip",
                 dict.fromkeys(("first", "closure", "frozen", "accumulated", "groups", "restored"), _not_clipped),
                 "The first step does not clip, later ones do."),
    KnownVariant("step(closure) clips before the closure", {"closure": _not_clipped}, "step(closure) clips the "
                 "gradients that are there, and then the closure computes new ones, which the step uses as they are."),
    KnownVariant("step(closure) does not call the closure", {"closure": _nothing, "closure_calls": 0.0}, "The closure "
                 "is not called, so that the step uses the gradients of before."),
    KnownVariant("step(closure) calls the closure twice", {"closure_calls": 2.0}, "The closure is called twice, so "
                 "that every step costs two passes."),
    KnownVariant("step(closure) calls the closure twice, the second time after clipping",
                 {"closure": _not_clipped, "closure_calls": 2.0}, "The closure is called once by the wrapper, which "
                 "clips its gradients, and again by the optimizer inside, which uses new ones as they are."),
    KnownVariant("clipping lost with state_dict", {"restored": _not_clipped}, "After state_dict and load_state_dict "
                 "nothing is clipped."),
    KnownVariant("nothing moves after state_dict", {"restored": _nothing}, "An optimizer that got the state of another "
                 "one changes no parameter any more."),
    KnownVariant("a parameter without a gradient ends the clipping", {"frozen": _not_clipped}, "Where a parameter has "
                 "no gradient, the others are not clipped."),
    KnownVariant("a parameter without a gradient ends the clipping of those after it", {"frozen": _those_before(2)},
                 "At a parameter without a gradient the loop ends (break or return in place of continue): those after "
                 "it are not clipped."),
    KnownVariant("the first parameter group alone clipped", {"groups": _those_before(3)}, "Parameters are clipped in "
                 "the first parameter group alone."),
    KnownVariant("every backward pass clipped by itself", {"accumulated": _each_pass}, "Gradients are clipped in every "
                 "backward pass and then added up; over several passes the sum is not clipped."),
    KnownVariant("clipped after every backward pass", {"accumulated": _each_pass_and_the_sum}, "What was added up so "
                 "far is clipped after every backward pass; over several passes it should be clipped once, before the "
                 "step."),
    KnownVariant("norms of the first step's weights", {"measures_new_weights": False}, "The norms of the weights are "
                 "those of the first call or of the start; later steps measure the weights no more."),
    KnownVariant("step(closure) computes without gradients", {"closure_records": False}, "The closure is called where "
                 "gradients are not recorded (inside torch.no_grad), so that its backward pass fails. Call it inside "
                 "torch.enable_grad()."),
    KnownVariant("step(closure) does not return the loss", {"returns_loss": False}, "step(closure) returns something "
                 "else than what the closure returned.", benign=True),
    KnownVariant("parameter groups not clipped", {"groups": _not_clipped}, "Parameters that are given in groups are "
                 "not clipped."),
)

CATALOGUE = (
    KnownVariant("gradient norm without its floor", {"divisor": lambda g, e: g}, "‖G‖ is not kept above 1e-6 before "
                 "dividing by it. It matters only where lambda·eps is below 1e-6.", benign=True),
    KnownVariant("1e-6 added to the gradient norm", {"divisor": lambda g, e: g + 1e-6}, "1e-6 is added to ‖G‖ where "
                 "the released code has a floor of 1e-6: clipped gradients are shorter by 1e-6/‖G‖ of "
                 "themselves.", benign=True),
    KnownVariant("1e-8 added to the gradient norm", {"divisor": lambda g, e: g + 1e-8}, "1e-8 is added to ‖G‖ where "
                 "the released code has a floor of 1e-6.", benign=True),
    KnownVariant("decides by the quotient", {"chosen": _by_the_quotient, "divisor": lambda g, e: g + 1e-6}, "The "
                 "gradient is multiplied by min(1, limit/(‖G‖ + 1e-6)), as in torch's clip_grad_norm_.", benign=True),
    KnownVariant("decides by the quotient with its floor", {"chosen": _by_the_quotient}, "The gradient is multiplied "
                 "by min(1, limit/max(‖G‖, 1e-6)). Where the limit lambda·max(‖W‖, eps) is below 1e-6, gradients "
                 "within it are shortened too; with the usual lambda = 0.01 and eps = 1e-3 no limit is so "
                 "small.", benign=True),
    KnownVariant("units by the stored rank", {"is_vector": _has_one_axis}, "The stored rank decides "
                 "whether a tensor is a single unit: a gain of shape (C, 1, 1, 1) or a weight with one input becomes C "
                 "units of one number each. The released code squeezes first, and has one unit. Where gains are stored "
                 "as vectors nothing changes."),
    KnownVariant("norms over the input axis of linear layers", {"linear_axes": (1,)}, "A linear layer's norms are "
                 "taken per input and not per output: the axis of the released code's (in, out) used on (out, in), or "
                 "the reverse."),
    KnownVariant("linear layers as a whole", {"linear_axes": None}, "A linear layer's weight is one unit; it should be "
                 "one for each output."),
    KnownVariant("linear layers number by number", {"linear_axes": ()}, "Every number of a linear layer's weight is a "
                 "unit."),
    KnownVariant("one norm for a whole tensor", {"conv_axes": None, "linear_axes": None}, "Each tensor is one unit; "
                 "weights should have one for each output. Units with small weights then get gradients that are far "
                 "too long."),
    KnownVariant("convolutions as a whole", {"conv_axes": None}, "A convolution's weight is one unit; it should be one "
                 "for each output channel."),
    KnownVariant("convolutions by input channel", {"conv_axes": (0, 1, 3)}, "A convolution's norms are taken per input "
                 "channel and not per output channel."),
    KnownVariant("convolutions by kernel", {"conv_axes": (0, 1)}, "A convolution's norms are taken over the kernel's "
                 "pixels only: a unit for each pair of channels."),
    KnownVariant("convolutions by kernel row", {"conv_axes": (1, 2, 3)}, "A convolution's norms run over all axes but "
                 "the kernel's rows: the axes of OIHW used on HWIO."),
    KnownVariant("convolutions by kernel column", {"conv_axes": (0, 2, 3)}, "A convolution's norms run over all axes "
                 "but the kernel's columns: the axes of HWIO used on OIHW."),
    KnownVariant("convolutions along the output axis", {"conv_axes": (3,)}, "A convolution's norms run along the "
                 "output channels only, a unit for each input channel and pixel."),
    KnownVariant("convolutions along the kernel's rows", {"conv_axes": (0,)}, "A convolution's norms run along the "
                 "first axis of HWIO only."),
    KnownVariant("norms over all axes but the first of HWIO",
                 {"conv_axes": (1, 2, 3), "linear_axes": (1,), "is_vector": _has_one_axis}, "Norms run over axes 1 and "
                 "up of (kh, kw, in, out) and (in, out): right for PyTorch's layout, whose outputs come first. Here "
                 "the last axis has the units."),
    KnownVariant("norms over all axes but the last of OIHW",
                 {"conv_axes": (0, 2, 3), "linear_axes": (1,), "is_vector": _has_one_axis}, "Norms run over all axes "
                 "but the last of (out, in, kh, kw) and (out, in): right for the authors' layout, whose outputs come "
                 "last. Here the first axis has the units."),
    KnownVariant("norms along the output axis", {"conv_axes": (3,), "linear_axes": (1,)}, "Norms run along the output "
                 "axis only, in convolutions and linear layers: axis 0 of torch's weights."),
    KnownVariant("number by number", {"conv_axes": (), "linear_axes": (), "vector_axes": ()}, "Every number is a "
                 "unit."),
    KnownVariant("biases and gains number by number", {"vector_axes": ()}, "Every number of a bias or gain is a unit; "
                 "the released code has one unit for the whole vector."),
    KnownVariant("one norm for all parameters", {"together": True}, "One norm for all parameters together decides: "
                 "that is clipping by the global norm, relative to the weights."),
    KnownVariant("root left out", {"norm": sum_of_squares}, "Sums of squares are compared, and their quotient "
                 "multiplies the gradient: the root is missing."),
    KnownVariant("L1 norm", {"norm": _l1_norm}, "Sums of magnitudes in place of L2 norms."),
    KnownVariant("largest magnitude", {"norm": _largest_magnitude}, "The largest magnitude in place of the L2 norm."),
    KnownVariant("root mean square", {"norm": _root_mean_square}, "Root mean squares in place of norms: the same until "
                 "eps is reached, which then is far too large a floor: small weights are hardly clipped."),
    KnownVariant("comparison reversed", {"chosen": lambda g, limit, divisor, c: g < limit}, "Gradients below the limit "
                 "are stretched to it, those above it left as they are."),
    KnownVariant("always brought to the limit", {"chosen": lambda g, limit, divisor, c: np.ones_like(g, bool)},
                 "Gradients below the limit are stretched to it."),
    KnownVariant("compared with lambda", {"chosen": lambda g, limit, divisor, c: g > c}, "‖G‖ is compared with lambda "
                 "itself and not with lambda·‖W‖."),
    KnownVariant("brought to ‖W‖", {"length": lambda limit, c: limit / c}, "What is clipped gets the length ‖W‖; "
                 "lambda is missing there."),
    KnownVariant("brought to 1", {"length": lambda limit, c: np.ones_like(limit)}, "What is clipped gets the length "
                 "1."),
    KnownVariant("brought to lambda", {"length": lambda limit, c: np.full_like(limit, c)}, "What is clipped gets the "
                 "length lambda, without ‖W‖."),
    KnownVariant("set to zero", {"length": lambda limit, c: np.zeros_like(limit)}, "What is clipped is set to zero."),
    KnownVariant("eps added to the weight norm", {"limit": lambda w, c, e: (w + e) * c}, "eps is added to ‖W‖; the "
                 "paper's is a floor, max(‖W‖, eps). Every limit is longer by eps·lambda."),
    KnownVariant("eps inside the root", {"limit": lambda w, c, e: np.sqrt(w * w + e) * c}, "‖W‖ is √(Σw² + eps); the "
                 "paper's is max(‖W‖, eps). With eps = 1e-3 that is a floor of about 0.03."),
    KnownVariant("eps a floor under the sum of squares", {"limit": lambda w, c, e: np.maximum(w, e**0.5) * c}, "‖W‖ is "
                 "√max(Σw², eps); the paper's is max(‖W‖, eps)."),
    KnownVariant("eps left out", {"limit": lambda w, c, e: w * c}, "‖W‖ has no floor: weights that start at zero (skip "
                 "gains, biases) have a limit of zero and never move."),
    KnownVariant("eps a floor under the limit", {"limit": lambda w, c, e: np.maximum(w * c, e)}, "The limit is "
                 "max(lambda·‖W‖, eps); it is lambda·max(‖W‖, eps). Small weights are clipped 1/lambda times less."),
    KnownVariant("eps in place of the weight norm", {"limit": lambda w, c, e: np.full_like(w, e) * c}, "The limit is "
                 "lambda·eps for all."),
    KnownVariant("eps under the gradient norm",
                 {"limit": lambda w, c, e: w * c, "divisor": lambda g, e: np.maximum(g, e)}, "eps is a floor under ‖G‖ "
                 "and not under ‖W‖."),
    KnownVariant("eps added to the gradient norm", {"limit": lambda w, c, e: w * c, "divisor": lambda g, e: g + e},
                 "eps is added to ‖G‖; it belongs under ‖W‖."),
    KnownVariant("eps a floor under both norms", {"divisor": lambda g, e: np.maximum(g, e)}, "‖G‖ is divided by only "
                 "down to eps, where the released code has 1e-6: shorter gradients come out too short."),
    KnownVariant("clipping and eps exchanged", {"exchanged": True}, "lambda is used as eps, and eps as lambda."),
    KnownVariant("last layer clipped", {"is_left_alone": lambda name, shape: False}, "The last layer's weight is "
                 "clipped; the paper leaves it alone."),
    KnownVariant("last layer's bias not clipped", {"is_left_alone": lambda name, shape: name.startswith("final ")},
                 "The last layer's bias is left alone with its weight. The released code clips it; little depends on "
                 "it.", benign=True),
    KnownVariant("biases and gains not clipped", {"is_left_alone": _is_vector_or_last_weight}, "Only weights are "
                 "clipped; the paper clips biases and gains too."),
    KnownVariant("tensors of one stored axis not clipped",
                 {"is_left_alone": lambda name, shape: len(shape) <= 1 or is_last_weight(name, shape)}, "Tensors that "
                 "are stored with at most one axis are left alone: biases, vectors of gains, scalars; the paper clips "
                 "them too."),
    KnownVariant("scalars not clipped",
                 {"is_left_alone": lambda name, shape: shape == () or is_last_weight(name, shape)}, "Scalars, the "
                 "skip gains, are not clipped; the paper clips them too."),
    KnownVariant("linear layers not clipped", {"is_left_alone": _is_linear}, "No linear layer is clipped; the paper "
                 "leaves only the last one alone (squeeze-and-excite has others)."),
    KnownVariant("decay added before clipping", {"decay": _decay_before_clipping}, "Weight decay is added to the "
                 "gradient before it is clipped: where clipping is at work, the decay is lost with the rest."),
    KnownVariant("weights alone decayed", {"decay": _decay_if(lambda name, shape: name.endswith("weight"))}, "Weight "
                 "decay acts on parameters called weight alone, as the paper has it for a network's weights.",
                 benign=True),
    KnownVariant("tensors of one axis not decayed", {"decay": _decay_if(lambda name, shape: len(shape) > 1)}, "Weight "
                 "decay does not act on what is stored with one axis or none: biases and gains, as the paper has "
                 "it.", benign=True),
    KnownVariant("weight decay ignored", {"decay": _no_decay}, "weight_decay has no effect."),
    KnownVariant("nothing is clipped", {"chosen": lambda g, limit, divisor, c: np.zeros_like(g, bool)}, "Every "
                 "gradient is left as it is: the function does nothing, or does not return or store its result."),
    KnownVariant("all gradients zero", {"length": lambda limit, c: np.zeros_like(limit),
                                        "chosen": lambda g, limit, divisor, c: np.ones_like(g, bool)},
                 "Every gradient is zero, or nothing moves."),
    KnownVariant("1×1 convolutions as a whole", {"own_axes": _as_a_whole_if(_is_pointwise)}, "The weight of a 1×1 "
                 "convolution is one unit; it should be one for each output channel."),
    KnownVariant("depthwise convolutions as a whole", {"own_axes": _as_a_whole_if(_is_depthwise)}, "The weight of a "
                 "depthwise convolution is one unit; it should be one for each output channel."),
    KnownVariant("depthwise convolutions number by number", {"own_axes": _number_by_number_if(_is_depthwise)}, "Every "
                 "number of a depthwise convolution's weight is a unit; it should be one for each output channel."),
    KnownVariant("weights with one output number by number", {"own_axes": _number_by_number_if(_has_one_output)}, "In "
                 "a weight with one output, every number is a unit; the released code has one unit for the whole "
                 "output."),
    KnownVariant("parameters changed by the call", {"keeps_parameters": False}, "The call changes the parameters "
                 "themselves; clipping changes gradients alone.", is_open=True),
)
