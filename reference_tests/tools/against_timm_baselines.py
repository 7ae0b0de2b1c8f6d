"""Compare the networks with normalizations with timm's, in float64 with the same random weights.

`python reference_tests/tools/against_timm.py --baselines [NAME ...]` prints a line for each network: the largest
differences of logits and of gradients, in evaluation and in training mode, and of the running statistics after the pass
in training mode. A difference is given as a share of the array's largest value, of gradients at least of the median of
these: an offset before another normalization has none but rounding. The random weights are timm's first; ours are made
of them by `from_timm`, and our gradients are renamed for the comparison by `to_timm`.
"""

import re

import numpy as np
import torch

import nfnumpy as nf

SHAPE = (3, 64, 96, 3)  # of the images: not square, so that axes in a wrong order show
LARGER = {"inception_v3": (6, 107, 139, 3)}  # its stem leaves nothing of smaller images, and of these 2×3 pixels
THEIRS = {"mobilenetv1": "mobilenetv1_100", "mobilenetv2": "mobilenetv2_100",
          **{f"efficientnet_b{k}": f"tf_efficientnet_b{k}" for k in range(8)}}  # where the names differ
BOTTLENECK_ENDS = r"^layer.*\.bn3\.weight|^stages.*\.conv3\.weight"  # of timm's residual branches
NAMES = (  # of ours
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnetv2_18", "resnetv2_34", "resnetv2_50",
    "resnetv2_101", "resnetv2_152", "resnet50d", "resnext50_32x4d", "seresnext50_32x4d", "seresnext26d_32x4d",
    "seresnext101d_32x8d", *(f"efficientnet_b{k}" for k in range(8)), "mobilenetv1", "mobilenetv2", "densenet121",
    "densenet161", "densenet169", "densenet201", "inception_v3")


def compare(timm, name):
    """One line about the network that we call `name`."""
    if name not in nf.models.names():
        return f"{name:22} is not there yet"
    theirs = random_timm(timm, THEIRS.get(name, name))
    state = nf.weights.from_timm({key: tensor.detach().clone().numpy() for key, tensor in theirs.state_dict().items()})
    ours = our_model(name, state)
    draws = np.random.default_rng(2)
    images = draws.standard_normal(LARGER.get(name, SHAPE))
    weights = draws.standard_normal((len(images), 1000))  # of the logits, in the sum whose gradients are compared
    figures = []
    for training in (False, True):
        logits, gradients, image_gradient = our_pass(ours, images, weights, training)
        expected_logits, expected, expected_image_gradient = their_pass(theirs, images, weights, training)
        typical = np.median([np.abs(gradient).max() for gradient in expected.values()])
        found = {key: difference(gradients[key], gradient, typical) for key, gradient in expected.items()}
        worst = max(found, key=found.__getitem__)
        figures += [difference(logits, expected_logits), found[worst],
                    difference(image_gradient, expected_image_gradient)]
    figures.append(difference_of_statistics(ours, theirs))
    return f"{name:22} " + "  ".join(f"{figure:9.1e}" for figure in figures) + f"  {worst}"


HEADING = f"{'':22} {'evaluation: logits, gradients, image':33} {'training: logits, gradients, image':33} statistics"


def random_timm(timm, name):
    """timm's model with every parameter and running statistic random, such that signals stay of order one.

    Residual branches end small, as in trained networks, and the inverse of a running variance is 1 on average:
    otherwise signals grow from block to block (in EfficientNet-B0 a hundredfold), the gates of squeeze-and-excite
    saturate, and every rounding is multiplied on its way. Offsets are small enough that a relu6 passes something of
    each channel: the batch's variance of a channel that is 0 but for one of its 18 values is next to nothing, and
    training mode divides by it. Ill-conditioned weights say nothing about agreement: with them timm differs as much
    from itself as soon as its images change by one rounding.
    """
    model = timm.create_model(name, pretrained=False).double()
    draws, ends = np.random.default_rng(1), ends_of_branches(model)
    with torch.no_grad():
        for key, array in model.state_dict().items():
            if not array.is_floating_point():
                continue
            numbers = torch.from_numpy(np.asarray(draws.standard_normal(tuple(array.shape))))
            if key.endswith("running_var"):
                array.copy_(1 / (0.5 + numbers**2 / 2))
            elif key.endswith("running_mean"):
                array.copy_(0.5 * numbers)
            elif key.endswith("bias"):
                array.copy_(0.25 * numbers)
            elif array.ndim == 1:
                array.copy_(1.0 + 0.2 * numbers)
            else:
                array.copy_(numbers * np.sqrt(2 / array[0].numel()))
            if key in ends:
                array.mul_(0.2)
    return model


def ends_of_branches(model):
    """The names of the last factors of timm's residual branches: of bottlenecks and of inverted residuals."""
    inverted = {f"{name}.{'bn3' if hasattr(block, 'bn3') else 'bn2'}.weight" for name, block in model.named_modules()
                if getattr(block, "has_skip", False)}
    return inverted | {key for key in model.state_dict() if re.search(BOTTLENECK_ENDS, key)}


def our_model(name, state):
    """Our network in float64 with these weights, without dropout and stochastic depth."""
    fields = vars(nf.models.config_of(name))
    changes = {rate: 0.0 for rate in ("drop_rate", "stochdepth_rate") if rate in fields}
    model = nf.models.create(name, dtype="float64", shapes_only=True, **changes)
    model.load_state_dict(state)
    return model


def our_pass(model, images, weights, training):
    """(logits, timm's name -> gradient, gradient of the images) of our network."""
    x = nf.Tensor(images, requires_grad=True)
    for parameter in model.parameters().values():
        parameter.grad = None
    logits = model(x, training=training)
    logits.backward(weights)
    gradients = {key: parameter.grad for key, parameter in model.parameters().items()}
    return logits.numpy(), nf.weights.to_timm(gradients), x.grad


def their_pass(model, images, weights, training):
    """(logits, name -> gradient, gradient of the images) of timm's network."""
    model.train(training)
    model.zero_grad()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().requires_grad_()
    logits = model(x)
    logits.backward(torch.from_numpy(weights))
    gradients = {key: parameter.grad.numpy() for key, parameter in model.named_parameters()}
    return logits.detach().numpy(), gradients, x.grad.permute(0, 2, 3, 1).numpy()


def difference_of_statistics(ours, theirs):
    """The largest difference of running statistics, which the pass in training mode has changed.

    Where a network has TensorFlow's conventions, timm's layers have PyTorch's unless they are told otherwise: their
    statistics take in another share of the batch's, and the unbiased variance. Not a number then.
    """
    mine = nf.weights.to_timm(ours.state_dict())
    conventions = {part.convention for part in ours.modules() if isinstance(part, nf.nn.BatchNorm)}
    if not all(convention.unbiased for convention in conventions):
        return float("nan")
    return max(difference(mine[key], array.numpy()) for key, array in theirs.state_dict().items() if "running" in key)


def difference(one, other, least=0.0):
    """max |one - other| / max |other|, or / `least` if that is larger."""
    return np.abs(np.asarray(one) - other).max() / max(np.abs(other).max(), least)
