"""What each operation is given in the tests: Hypothesis strategies of Problems.

A Problem holds float64 inputs whose values float32 holds too, so that both precisions compute the same problem.
Values stay at least KINK from points where a derivative jumps (0 of relu, ties of a maximum): a difference quotient
moves every value by at most KINK/2. What happens on those points is tested by name, where it is a promise.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes_of

from nfnumpy.functional.activations import NONLINEARITIES

KINK = 1 / 16
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Problem:
    """Inputs of one call: arrays, numbers or None; `wrt` numbers those that have a derivative."""

    inputs: tuple
    wrt: tuple
    options: dict[str, Any]


# ---- values


def normal(random, shape):
    return random.standard_normal(shape)


def above(low, high):
    return lambda random, shape: random.uniform(low, high, shape)


def off(*kinks):
    """Values around the `kinks` but not within KINK of them."""
    def values(random, shape):
        x = random.uniform(min(kinks) - 3, max(kinks) + 3, shape)
        for kink in kinks:
            x = np.where(np.abs(x - kink) < KINK, kink + KINK * np.where(x < kink, -1, 1), x)
        return x
    return values


def apart(random, shape):
    """All different, by 2·KINK at least, in random order: no tie within reach."""
    count = math.prod(shape)
    return (random.permutation(count) - count // 2).reshape(shape) * (2 * KINK)


def off_zero_either_sign(random, shape):
    return random.uniform(0.5, 2, shape) * random.choice([-1.0, 1.0], shape)


def as_float32_holds(x):
    return np.asarray(x, dtype=np.float32).astype(np.float64)


# ---- strategies


@st.composite
def unary(draw, values=normal, *, min_dims=0, min_side=0, wrt=(0,), **options):
    """One array of any shape; an option may be a strategy, or a function from the shape to one."""
    shape = draw(shapes_of.array_shapes(min_dims=min_dims, max_dims=4, min_side=min_side, max_side=4))
    options = {key: draw(option(shape)) if callable(option) else option for key, option in options.items()}
    random = np.random.default_rng(draw(seeds))
    return Problem((as_float32_holds(values(random, shape)),), wrt, options)


@st.composite
def binary(draw, x=normal, y=normal):
    """Two arrays that broadcast, or an array and a number on either side."""
    (shape_x, shape_y), _ = draw(shapes_of.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3,
                                                                        min_side=0))
    random = np.random.default_rng(draw(seeds))
    inputs, number = [as_float32_holds(x(random, shape_x)), as_float32_holds(y(random, shape_y))], draw(
        st.sampled_from([None, None, None, 0, 1]))
    if number is not None:
        inputs[number] = float(as_float32_holds((x, y)[number](random, ())))
    return Problem(tuple(inputs), tuple(k for k in (0, 1) if k != number), {})


@st.composite
def extremum(draw):
    """Two arrays that broadcast and tie nowhere: the first in multiples of 2·KINK, the second halfway between."""
    problem = draw(binary(lambda random, shape: random.integers(-9, 9, shape) * (2 * KINK),
                          lambda random, shape: random.integers(-9, 9, shape) * (2 * KINK) + KINK))
    return problem


@st.composite
def summands(draw):
    """Two arrays of one shape whose sum is nowhere near 0: an odd multiple of KINK."""
    shape = draw(shapes_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
    random = np.random.default_rng(draw(seeds))
    x, y = (random.integers(-9, 9, shape) * (2.0 * KINK) for _ in range(2))
    return Problem((as_float32_holds(x), as_float32_holds(y + KINK)), (0, 1), {})


@st.composite
def choice(draw):
    shape_c, shape_x, shape_y = draw(shapes_of.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3))[0]
    random = np.random.default_rng(draw(seeds))
    condition = np.asarray(random.random(shape_c) < 0.5)
    return Problem((condition, *(as_float32_holds(normal(random, shape)) for shape in (shape_x, shape_y))), (1, 2), {})


def axes(shape):
    """None, one axis counted from either end, or several; of no axes too, where 0 and -1 are taken."""
    count = len(shape)
    each = st.integers(-count, count - 1)
    some = st.sets(st.integers(0, count - 1), min_size=1).map(lambda s: tuple(sorted(s)))
    return st.one_of(st.none(), each, some) if count else st.sampled_from([None, 0, -1])


def either(shape):
    return st.booleans()


def new_shapes(shape):
    return st.sampled_from([(math.prod(shape),), tuple(reversed(shape)), (*shape, 1), (1, -1) if math.prod(shape)
                            else (0, 1)])


def orders(shape):
    return st.one_of(st.none(), st.permutations(range(len(shape))).map(tuple))


def wider(shape):
    return st.tuples(st.sampled_from([(), (2,), (3, 1)]), *(st.integers(1, 3) if n == 1 else st.just(n)
                                                           for n in shape)).map(lambda s: (*s[0], *s[1:]))


def indices(shape):
    """Whole numbers, slices (also backwards and with steps), new axes, an Ellipsis, and fewer entries than axes."""
    parts = [st.sampled_from([slice(None), slice(None, None, -1), slice(0, n, 2), slice(1, n), slice(0, 0), 0, n - 1])
             for n in shape]
    return st.integers(0, len(shape)).flatmap(lambda kept: st.tuples(
        st.sampled_from([(), (None,)]), st.tuples(*parts[:kept]),
        st.sampled_from([(), (Ellipsis,), (Ellipsis, None)])).map(lambda index: sum(index, ())))


def frames(shape):
    return st.tuples(*(st.tuples(st.integers(0, 2), st.integers(0, 2)) for _ in shape))


@st.composite
def several(draw, join):
    count = draw(st.integers(1, 3))
    shape = draw(shapes_of.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    random = np.random.default_rng(draw(seeds))
    arrays = []
    for _ in range(count):
        own = list(shape)
        if join == "concatenate":
            own[axis] = draw(st.integers(0, 3))
        arrays.append(as_float32_holds(normal(random, tuple(own))))
    return Problem(tuple(arrays), tuple(range(count)), {"axis": axis})


@st.composite
def any_nonlinearity(draw, names=None):
    name = draw(st.sampled_from(names or sorted(NONLINEARITIES)))
    problem = draw(unary(off(0, 6), min_dims=1, min_side=2))
    (x,) = problem.inputs
    return Problem((x[..., : x.shape[-1] // 2 * 2],), (0,), {"name": name, "scale": draw(st.sampled_from([1.0, 1.7]))})


@st.composite
def products(draw):
    """Matrices, stacks of them that broadcast, and vectors on either side: (m?,k),(k,n?)."""
    result = draw(shapes_of.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3,
                                                          min_side=0))
    random = np.random.default_rng(draw(seeds))
    return Problem(tuple(as_float32_holds(normal(random, shape)) for shape in result.input_shapes), (0, 1), {})


@st.composite
def dense(draw):
    n, inputs, outputs = draw(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)))
    random = np.random.default_rng(draw(seeds))
    shapes = [(n, inputs), (inputs, outputs), (outputs,)]
    arrays = [as_float32_holds(normal(random, shape)) for shape in shapes]
    return Problem(tuple(arrays), (0, 1, 2), {}) if draw(st.booleans()) else Problem((*arrays[:2], None), (0, 1), {})


def positive_pairs(most):
    return st.one_of(st.integers(1, most), st.tuples(st.integers(1, most), st.integers(1, most)))


def both(value):
    return value if isinstance(value, tuple) else (value, value)


def paddings():
    explicit = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
    return st.one_of(st.just("SAME"), st.just("VALID"), st.integers(0, 2), explicit)


def fits(image, kernel, dilation, padding):
    """Whether at least one window fits: (k - 1)·d + 1 ≤ size + padding; SAME always fits."""
    frame = {"SAME": None, "VALID": ((0, 0), (0, 0))}.get(padding, padding) if isinstance(padding, str) else padding
    if frame is None:
        return True
    frame = ((frame, frame), (frame, frame)) if isinstance(frame, int) else frame
    return all((k - 1) * d + 1 <= size + sum(edge)
               for size, k, d, edge in zip(image, kernel, both(dilation), frame, strict=True))


@st.composite
def convolutions(draw, min_batch=1):
    """1×1 images and kernels, batches of 1, strides beyond the kernel, kernels beyond the image, depthwise groups."""
    n, h, w = draw(st.tuples(st.integers(min_batch, 2), st.integers(1, 6), st.integers(1, 6)))
    groups, fan, outs = draw(st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation = draw(positive_pairs(3)), draw(positive_pairs(2))
    padding = draw(paddings().filter(lambda padding: fits((h, w), kernel, dilation, padding)))
    random = np.random.default_rng(draw(seeds))
    shapes = [(n, h, w, groups * fan), (*kernel, fan, groups * outs), (groups * outs,)]
    x, weight, bias = (as_float32_holds(normal(random, shape)) for shape in shapes)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Problem((x, weight, bias), (0, 1, 2), options) if draw(st.booleans()) \
        else Problem((x, weight, None), (0, 1), options)


@st.composite
def pools(draw, values, min_batch=1):
    """Padding stays below the window, so that every window sees a real pixel."""
    n, h, w, c = draw(st.tuples(st.integers(min_batch, 2), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)))
    window = draw(positive_pairs(3))
    frame = st.tuples(*(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)) for k in both(window)))
    padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), frame).filter(
        lambda padding: fits((h, w), both(window), 1, padding)))
    options = {"window": window, "stride": draw(st.one_of(st.none(), positive_pairs(4))), "padding": padding}
    random = np.random.default_rng(draw(seeds))
    return Problem((as_float32_holds(values(random, (n, h, w, c))),), (0,), options)


@st.composite
def images(draw):
    shape = draw(st.tuples(*[st.integers(1, 4)] * 4))
    return Problem((as_float32_holds(normal(np.random.default_rng(draw(seeds)), shape)),), (0,), {})


@st.composite
def weights(draw):
    """Units of norm 1 to 15, far from the floor: eps is far below (as in networks) or far above. Fan-in 1: norm 0."""
    shape = draw(st.one_of(st.tuples(*[st.integers(1, 3)] * 4), st.tuples(st.integers(1, 6), st.integers(1, 4))))
    random = np.random.default_rng(draw(seeds))
    weight = random.uniform(-1, 1, shape)
    weight.reshape(-1, shape[-1])[0] += 4.0
    gain = random.uniform(0.5, 2.0, shape[-1:])
    return Problem((as_float32_holds(weight), as_float32_holds(gain)), (0, 1),
                   {"eps": draw(st.sampled_from([1e-4, 1e-2, 1e4]))})


EPS = st.sampled_from([1e-5, 1e-3, 10.0])


def spread_out(random, shape):
    """Values of which the first of every channel is 3 to 5 from the others: no variance is near 0 but that of one."""
    x = random.uniform(-1, 1, shape)
    x.reshape(-1, shape[-1])[0] += 4.0
    return x


@st.composite
def batches(draw):
    """x (…, C), gamma and beta; the moments are left to the operation. One value a channel has variance 0."""
    shape = draw(shapes_of.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4))
    random = np.random.default_rng(draw(seeds))
    arrays = spread_out(random, shape), normal(random, shape[-1:]), normal(random, shape[-1:])
    return Problem((*map(as_float32_holds, arrays), None, None), (0, 1, 2), {"eps": draw(EPS)})


@st.composite
def activated_batches(draw):
    """As above, and a nonlinearity without a kink."""
    problem = draw(batches())
    name = draw(st.sampled_from(["identity", "silu", "gelu", "tanh"]))
    return Problem(problem.inputs, problem.wrt, {**problem.options, "name": name})


@st.composite
def normalizations(draw):
    """x (…, C), gamma, beta, and moments that are not those of x."""
    problem = draw(batches())
    x, gamma, beta, _, _ = problem.inputs
    random = np.random.default_rng(draw(seeds))
    mean, variance = (as_float32_holds(values) for values in (normal(random, gamma.shape),
                                                              random.uniform(0.5, 2, gamma.shape)))
    return Problem((x, gamma, beta, mean, variance), (0, 1, 2), problem.options)


def alternating(random, shape):
    """Values that are 4 apart, on average, from those of the next image, pixel and channel: no variance is near 0."""
    images = np.zeros((shape[0], math.prod(shape[1:-1]), shape[-1]))
    parity = sum(np.ogrid[tuple(slice(size) for size in images.shape)]) % 2
    return random.uniform(-1, 1, shape) + 4.0 * parity.reshape(shape)


@st.composite
def grouped(draw, options):
    """x (N, …, C), gamma and beta; `options` is a function from the shape of x to a strategy of the options but eps."""
    shape = draw(shapes_of.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4))
    random = np.random.default_rng(draw(seeds))
    arrays = alternating(random, shape), normal(random, shape[-1:]), normal(random, shape[-1:])
    return Problem(tuple(map(as_float32_holds, arrays)), (0, 1, 2), {**draw(options(shape)), "eps": draw(EPS)})


def group_counts(shape):
    return st.sampled_from([n for n in range(1, shape[-1] + 1) if shape[-1] % n == 0]).map(lambda n: {"groups": n})


@st.composite
def switchable(draw):
    """As `grouped`, with the two weights of the mixture; the batch's moments are given or left to the operation."""
    problem = draw(grouped(lambda shape: st.fixed_dictionaries({"unbiased": st.booleans()})))
    x, gamma, beta = problem.inputs
    random = np.random.default_rng(draw(seeds))
    weights = [as_float32_holds(normal(random, (3,))) for _ in range(2)]
    moments = [as_float32_holds(random.uniform(0.5, 2, gamma.shape)) for _ in range(2)] if draw(st.booleans()) \
        else [None, None]
    return Problem((x, gamma, beta, *weights, *moments), (0, 1, 2, 3, 4), problem.options)


@st.composite
def plain_weights(draw):
    problem = draw(weights())
    options = {"eps": draw(st.sampled_from([1e-5, 1e-2, 10.0])),
               "eps_beside": draw(st.sampled_from(["deviation", "variance"]))}
    return Problem(problem.inputs[:1], (0,), options)


@st.composite
def excitations(draw):
    """Hidden units stay 1/2 from the kink of their nonlinearity: |x| ≤ 1 and |weight0| ≤ 1/C, biases of ±3/2."""
    n, h, w, c, hidden = draw(st.tuples(st.integers(1, 3), *[st.integers(1, 4)] * 4))
    random = np.random.default_rng(draw(seeds))
    arrays = (random.uniform(-1, 1, (n, h, w, c)), random.uniform(-1, 1, (c, hidden)) / c,
              random.choice([-1.5, 1.5], hidden), normal(random, (hidden, c)), normal(random, c))
    options = {"activation": draw(st.sampled_from(["relu", "silu", "relu6", "tanh", "log_softmax"])),
               "scale": draw(st.sampled_from([2.0, 1.0, -0.5]))}
    return Problem(tuple(map(as_float32_holds, arrays)), tuple(range(5)), options)


@st.composite
def residuals(draw):
    shape = draw(shapes_of.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=3))
    random = np.random.default_rng(draw(seeds))
    return Problem(tuple(as_float32_holds(normal(random, s)) for s in (shape, shape, ())), (0, 1, 2), {"alpha": 0.2})


@st.composite
def masked(draw, per_example):
    shape = draw(shapes_of.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=3))
    random = np.random.default_rng(draw(seeds))
    mask = random.random((shape[0],) + (1,) * (len(shape) - 1) if per_example else shape) < 0.7
    options = {"rate": draw(st.sampled_from([0.0, 0.25, 0.5])), **({"rescale": draw(st.booleans())} if per_example
                                                                  else {})}
    return Problem((as_float32_holds(normal(random, shape)), mask.astype(np.float64)), (0,), options)


@st.composite
def losses(draw):
    n, classes = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    random = np.random.default_rng(draw(seeds))
    labels = draw(st.sampled_from([random.integers(0, classes, n), as_float32_holds(random.random((n, classes)))]))
    return Problem((as_float32_holds(3 * normal(random, (n, classes))), labels), (0,),
                   {"label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0]))})
