"""The known variants of every normalization."""

import functools

from ... import ops
from . import KnownVariant, apply, normalization as rules
from .normalization import BASES, Over, Source

TITLES = {"batch": "batch normalization", "batch_keras": "batch normalization", "batch_haiku": "batch normalization",
          "layer": "layer normalization over the image", "layer_channels": "layer normalization over the channels",
          "group": "group normalization", "instance": "instance normalization",
          "switchable": "switchable normalization"}
EPS = (1e-3, 1e-4, 1.001e-5, 1e-5, 1e-6, 1e-7, 1e-8)
DECAYS = (0.9, 0.95, 0.99, 0.997, 0.999)
WRONG_AXES = {
    "moments for each row": Over("examples, columns and channels", (0, 2, 3)),
    "moments for each column": Over("examples, rows and channels", (0, 1, 3)),
    "moments over columns and channels": Over("the columns and channels of an image", (2, 3)),
    "moments over rows and channels": Over("the rows and channels of an image", (1, 3)),
    "moments over the examples alone": Over("the examples", (0,)),
    "moments over everything": Over("the whole batch", (0, 1, 2, 3))}


def _halved(channels, groups):
    return max(1, groups // 2)


def _doubled(channels, groups):
    return 2 * groups


def _exchanged(channels, groups):
    return channels // groups


def _eps(base):
    for value in EPS:
        yield KnownVariant(f"eps {value:g}", {"eps": value}, f"eps is {value:g}; here it should be {base.eps:g}. "
                           "Channels whose variance is near eps come out smaller or larger.", benign=True)
    yield KnownVariant("eps missing", {"eps": 0.0}, "Nothing is added to the variance: a constant channel becomes NaN.")
    yield KnownVariant("eps added to the deviation", {"divisor": rules.added_to_deviation}, "eps is added to "
                       "√variance; it should be added to the variance, inside the root.", benign=True)
    yield KnownVariant("eps a floor of the variance", {"divisor": rules.floor_of_variance}, "The divisor is "
                       "√max(variance, eps); it should be √(variance + eps).", benign=True)
    yield KnownVariant("root missing", {"divisor": rules.without_root}, "x - mean is divided by the variance; it "
                       "should be divided by its root.")


def _over(name, base):
    across = base.over is not rules.BATCH
    for other in ("batch", "layer", "layer_channels", "group", "instance"):
        if BASES[other].over is not base.over:
            changed = BASES[other]
            yield KnownVariant(f"{TITLES[other]} in place of {TITLES[name]}",
                               {"over": changed.over, "evaluation": changed.evaluation}, "The moments are over "
                               f"{changed.over.title}; here they should be over {base.over.title}.",
                               across_examples=across and other == "batch")
    if base.over.grouped != "mixture":
        for title, over in WRONG_AXES.items():
            yield KnownVariant(title, {"over": over}, f"The moments are over {over.title}; they should be over "
                               f"{base.over.title}. Often the axes of NCHW are used on NHWC, or the reverse.",
                               across_examples=across and 0 in over.axes)


def _moments():
    yield KnownVariant("normalized with the unbiased variance", {"unbiased": True}, "The variance that normalizes is "
                       "divided by n - 1 (the default of torch.var); it should be divided by n.")
    yield KnownVariant("not centred", {"centred": False}, "The mean is not subtracted.")
    yield KnownVariant("root mean square in place of the deviation", {"centred": False, "about_zero": True}, "x is "
                       "divided by √(mean of x² + eps), and no mean is subtracted: RMSNorm.")
    yield KnownVariant("moments not differentiated", {"constant_mean": True, "constant_variance": True}, "The forward "
                       "pass is right, but the derivative takes mean and variance as constants (detached).")
    yield KnownVariant("variance not differentiated", {"constant_variance": True}, "The forward pass is right, but the "
                       "derivative takes the variance as a constant.")


def _affine(present):
    missing = "not used" if present else "missing"
    yield KnownVariant(f"gamma and beta {missing}", {"affine": lambda unit, gamma, beta: unit},
                       "The normalized values are returned without gamma and beta"
                       + (", though there are such parameters." if present else ". Right where the next layer has a "
                          "scale and a bias of its own."), benign=not present)
    yield KnownVariant("gamma missing", {"affine": lambda unit, gamma, beta: unit + beta}, "The normalized values are "
                       "not multiplied by gamma.")
    yield KnownVariant("beta missing", {"affine": lambda unit, gamma, beta: unit * gamma}, "beta is not added.")
    yield KnownVariant("gamma and beta exchanged", {"affine": lambda unit, gamma, beta: unit * beta + gamma},
                       "The values are multiplied by beta, and gamma is added.")
    yield KnownVariant("gamma plus one", {"affine": lambda unit, gamma, beta: unit * (gamma + 1.0) + beta}, "The "
                       "values are multiplied by 1 + gamma.")
    yield KnownVariant("beta added before gamma", {"affine": lambda unit, gamma, beta: (unit + beta) * gamma}, "beta "
                       "is added first, so that gamma multiplies it too.")


def _sources(base):
    if base.evaluation is Source.OWN:
        yield KnownVariant("running statistics in evaluation", {"evaluation": Source.RUNNING}, "In evaluation the "
                           "moments are running ones; this normalization takes those of its input always.")
        return
    yield KnownVariant("running statistics in training", {"training": Source.RUNNING}, "In training the moments are "
                       "the running ones; they should be those of the batch, and be differentiated.")
    yield KnownVariant("updated running statistics in training", {"training": Source.UPDATED}, "In training the batch "
                       "is first taken into the running statistics, and those normalize; the moments should be those "
                       "of the batch.")
    yield KnownVariant("batch statistics in evaluation", {"evaluation": Source.OWN}, "In evaluation the moments are "
                       "those of the batch, so that the output for an image depends on its neighbours; they should be "
                       "the running ones.", across_examples=True)


CONVENTIONS = {"batch": "PyTorch's", "batch_keras": "Keras's", "batch_haiku": "Haiku's"}


def _conventions(base):
    """The other conventions of batch normalization, each as a whole."""
    for name, whose in CONVENTIONS.items():
        other = BASES[name]
        changes = {field: getattr(other, field) for field in ("eps", "decay", "debiased", "statistics_unbiased")}
        text = f"eps is {other.eps:g}, the old average counts {other.decay:g}, and the variance of the batch enters " \
               + ("times n/(n - 1)" if other.statistics_unbiased else "as it is") \
               + (", divided by 1 - decayᵗ." if other.debiased else ".")
        yield KnownVariant(f"{whose} convention", changes, f"Running statistics are kept as in {whose} layer: {text}",
                           benign=True)


def statistics(base: rules.NormRules) -> tuple[KnownVariant, ...]:
    """The variants of a running average alone, of a normalization that has one."""
    if base.evaluation is Source.OWN:
        return ()
    return (
        *(KnownVariant("momentum the other way round" if decay == base.decay else
                       f"momentum {decay:g} the other way round", {"decay": 1.0 - decay}, f"The weight of the batch is "
                       f"{decay:g} and that of the old average {1.0 - decay:.3g}; it should be the reverse. PyTorch's "
                       "momentum is the weight of the batch, Keras's that of the old average.") for decay in DECAYS),
        *(KnownVariant(f"decay {decay:g}", {"decay": decay}, f"The old average counts {decay:g}; in this convention "
                       f"{base.decay:g}. Only the statistics for evaluation differ, and they converge to the same.",
                       benign=True) for decay in DECAYS if decay != base.decay),
        KnownVariant("running variance biased", {"statistics_unbiased": False}, "The batch enters the running variance "
                     "as it is, divided by n, as in Keras and Haiku; PyTorch multiplies it by n/(n - 1).", benign=True),
        KnownVariant("running variance unbiased", {"statistics_unbiased": True}, "The batch enters the running "
                     "variance times n/(n - 1), as in PyTorch; here it should enter as it is.", benign=True),
        KnownVariant("running averages debiased", {"debiased": True}, "The averages are divided by 1 - decayᵗ, so that "
                     "the first batch counts fully, as in Haiku.", benign=True),
        KnownVariant("running averages not debiased", {"debiased": False}, "The averages are not divided by 1 - "
                     "decayᵗ: those of the first batches are near their initial values.", benign=True),
        KnownVariant("plain mean of all batches", {"decay": 1.0, "debiased": True}, "The running statistics are the "
                     "mean of all batches so far, as PyTorch's with momentum=None.", benign=True),
        KnownVariant("running statistics not updated", {"decay": 1.0, "debiased": False}, "Training leaves the running "
                     "statistics as they were, so that evaluation normalizes with their initial values."),
        KnownVariant("running deviation in place of the variance", {"stored": ops.sqrt}, "The root of the variance is "
                     "averaged; it should be the variance."),
        KnownVariant("running statistics updated in evaluation", {"updated_in_evaluation": True}, "Evaluation takes "
                     "its batch into the running statistics."))


def _groups():
    yield KnownVariant("group size and number of groups exchanged", {"groups": _exchanged}, "There are as many "
                       "channels in a group as there should be groups.")
    yield KnownVariant("half as many groups", {"groups": _halved}, "There are half as many groups as there should be.")
    yield KnownVariant("twice as many groups", {"groups": _doubled}, "There are twice as many groups as there should "
                       "be.")
    yield KnownVariant("interleaved groups", {"over": rules.INTERLEAVED}, "A group is every groups-th channel; it "
                       "should be neighbouring channels: the reshape splits the channels the other way round.")


def _mixture():
    yield KnownVariant("softmax missing", {"shares": rules.same}, "The three weights mix the moments as they are; "
                       "their softmax should.")
    yield KnownVariant("one set of weights", {"one_mixture": True}, "The weights of the means mix the variances too; "
                       "those have weights of their own.")
    yield KnownVariant("unbiased variance of the instance", {"instance_unbiased": True}, "The variance of an instance "
                       "is divided by the number of pixels - 1, as in its authors' code; the paper divides by the "
                       "number of pixels.", benign=True)
    for title, order in (("instance and batch exchanged", (2, 1, 0)), ("instance and layer exchanged", (1, 0, 2)),
                         ("layer and batch exchanged", (0, 2, 1))):
        yield KnownVariant(f"weights of {title}", {"order": order}, "The weights belong to instance, layer and batch "
                           f"in this order; those of {title}.")


@functools.cache
def catalogue(name: str, has_affine: bool = True) -> tuple[KnownVariant, ...]:
    """The known variants of the normalization called `name`; has_affine: whether the target has gamma or beta."""
    base = BASES[name]
    found = [*_eps(base), *_over(name, base), *_moments(), *_affine(has_affine), *_sources(base), *statistics(base)]
    if base.over is rules.BATCH:
        found = [*_conventions(base), *found]
    if base.over is rules.GROUP:
        found += _groups()
    if base.over is rules.MIXTURE:
        found = [variant for variant in found if not {"unbiased", "about_zero"} & variant.changes.keys()]
        found += _mixture()
    return tuple(variant for variant in found if apply(base, (variant,)) != base)
