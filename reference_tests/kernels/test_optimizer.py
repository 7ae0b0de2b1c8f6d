"""The kernels that go through whole lists of tensors give what the formulas give in float64, within rounding.

Where there is a GPU they run on it; elsewhere on the CPU, in guarded memory.
"""

import cupy
import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import optim
from nfnumpy.optim.fast_cupy import lists as fast_lists, multi_tensor as fast, updates

SHAPES = [(), (1,), (5,), (1, 4), (7, 1), (1, 1, 1, 1), (40000,), (0,),  # a unit each
          (3, 4), (4, 3), (3, 3, 5, 33), (1, 1, 7, 130), (2, 1, 3, 1), (300, 3), (200, 100), (2, 0), (0, 3),
          (2100, 4), (1100, 3)]  # more than the registers of a block hold
DTYPES = [np.float32, np.float64]


@st.composite
def lists(draw, count):
    """`count` lists of arrays of the same shapes and one dtype; a tensor is 1e-3 to 1e3 in size, or 0."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=6))
    dtype, random = draw(st.sampled_from(DTYPES)), np.random.default_rng(draw(st.integers(0, 2**32)))
    scales = random.choice([0.0, 1e-3, 1.0, 1e3], (count, len(shapes)), p=[0.1, 0.3, 0.3, 0.3])
    return [[np.asarray(scale * random.standard_normal(shape)).astype(dtype)
             for scale, shape in zip(row, shapes, strict=True)] for row in scales]


def on_device(arrays):
    return [cupy.asarray(array) for array in arrays]


def on_host(arrays):
    return [cupy.asnumpy(array) for array in arrays]


def doubles(arrays):
    return [array.astype(np.float64) for array in arrays]


def bits(arrays):
    return [array.tobytes() for array in on_host(arrays)]


def roundings(array, count):
    """`count` roundings and, for two norms of n numbers each, n + 3 more (see test_agc.py), in units of the value."""
    return (2 * array.size + count) * np.finfo(array.dtype).eps / 2


def expect_within(results, expected, limits, dtype):
    for result, value, limit in zip(on_host(results), expected, limits, strict=True):
        assert result.dtype == dtype and result.shape == value.shape
        assert np.all(np.abs(result - value) <= limit)


# ---- the update


OPTIONS = {"lr": 0.3, "momentum": 0.9, "nesterov": True, "eps": 1e-3}


def sums_of_magnitudes(params, grads, velocities, *, lr, momentum, weight_decays, **options):
    """What is added up, in magnitude, to make (each new parameter, each new velocity).

    v = m·v + g + d·w, and w - lr·(g + d·w + m·v) or w - lr·v.
    """
    unmoved = {**options, "weight_decays": [0.0] * len(params), "lr": 0.0, "momentum": 0.0}
    clipped = optim.clipped_update.plain(params, grads, velocities, **unmoved)[1]
    velocity = [momentum * np.abs(v) + np.abs(g) + d * np.abs(w)
                for w, g, v, d in zip(params, clipped, velocities, weight_decays, strict=True)]
    return [np.abs(w) + lr * (1 + momentum) * v for w, v in zip(params, velocity, strict=True)], velocity


@st.composite
def problems(draw):
    """(params, grads, velocities, options): the least norm allowed, 1e-5, is above the divisor's floor of 1e-6."""
    params, grads, velocities = draw(lists(3))
    each = st.lists(st.sampled_from([None, 0.01, 1.0]), min_size=len(params), max_size=len(params))
    decays = st.lists(st.sampled_from([0.0, 0.1]), min_size=len(params), max_size=len(params))
    return params, grads, velocities, {
        "lr": draw(st.sampled_from([0.0, 0.3])), "momentum": draw(st.sampled_from([0.0, 0.9])),
        "nesterov": draw(st.booleans()), "eps": draw(st.sampled_from([1e-3, 0.5])), "clippings": draw(each),
        "weight_decays": draw(decays)}


@given(problem=problems(), inverse_scale=st.sampled_from([None, 1 / 3]), proceed=st.sampled_from([None, True]))
def test_a_whole_update_is_the_formula_within_rounding(problem, inverse_scale, proceed):
    """A clipped gradient is two norms and 8 roundings off; decay, momentum and step add 8, some of them twice."""
    params, grads, velocities, options = problem
    dtype = params[0].dtype
    in_double = [doubles(arrays) for arrays in (params, grads, velocities)]
    scale = None if inverse_scale is None else np.asarray(inverse_scale, dtype)
    options_64 = {**options, "inverse_scale": None if scale is None else scale.astype(np.float64)}
    expected = optim.clipped_update.plain(*in_double, **options_64)
    results = updates.clipped_update(
        *(on_device(arrays) for arrays in (params, grads, velocities)), **options,
        inverse_scale=None if scale is None else cupy.asarray(scale),
        proceed=None if proceed is None else cupy.asarray(np.asarray(proceed)))
    magnitudes_of_both = sums_of_magnitudes(*in_double, **options_64)
    for result, value, magnitudes in zip(results[:2], expected[:2], magnitudes_of_both, strict=True):
        expect_within(result, value, [roundings(w, 24) * m for w, m in zip(params, magnitudes, strict=True)], dtype)

    norms = [(w, optim.unitwise_norm(g * options_64["inverse_scale"] if inverse_scale else g),
              (clipping or 0.0) * np.maximum(optim.unitwise_norm(w_64), options["eps"]))
             for w, w_64, g, clipping in zip(params, *in_double[:2], options["clippings"], strict=True)]
    doubtful = np.array([np.sum(np.abs(norm - limit) <= roundings(w, 8) * limit) for w, norm, limit in norms])
    counts = results[2]
    assert counts.shape == (len(params),) and counts.dtype == np.int64
    assert np.all(np.abs(cupy.asnumpy(counts) - expected[2]) <= doubtful)


@pytest.mark.parametrize("dtype", DTYPES)
def test_units_are_counted_and_clipped_each_for_itself(dtype):
    """33 units in blocks of 8: those at odd places are above what is allowed, and are halved."""
    grad = np.where(np.arange(33) % 2, 0.04, 0.01) * np.ones((4, 33))
    params, grads = [cupy.asarray(np.ones((4, 33), dtype))], [cupy.asarray(grad.astype(dtype))]
    zeros = [cupy.asarray(np.zeros((4, 33), dtype))]
    options = {**OPTIONS, "momentum": 0.0, "weight_decays": [0.0]}
    _, (velocity,), counts = updates.clipped_update(params, grads, zeros, **options, clippings=[0.02])
    np.testing.assert_allclose(cupy.asnumpy(velocity), np.minimum(grad, 0.02), rtol=10 * np.finfo(dtype).eps)
    assert counts.get().tolist() == [16]
    _, (velocity,), counts = updates.clipped_update(params, grads, zeros, **options, clippings=[None])
    np.testing.assert_array_equal(cupy.asnumpy(velocity), grad.astype(dtype))
    assert counts.get().tolist() == [0]


@pytest.mark.parametrize("order", [1, -1])
def test_units_are_counted_for_each_tensor(order):
    """Tensors of many pieces, of one and of none, in sequence; of every second unit the norm is too large."""
    shapes = [(2, 700), (5,), (0, 3), (3, 1, 9), (4, 2), (), (2, 4099)][::order]
    grads = [np.where(np.indices(shape)[-1] % 2, 0.01, 1.0) if shape else np.ones(()) for shape in shapes]
    lists = [on_device(arrays) for arrays in ([np.ones(shape) for shape in shapes], grads, grads)]
    options = {**OPTIONS, "weight_decays": [0.0] * 7, "clippings": [0.02, 0.02, 0.02, 0.02, None, 0.02, 0.02][::order]}
    expected = [350, 1, 0, 5, 0, 1, 2050][::order]
    assert updates.clipped_update(*lists, **options)[2].get().tolist() == expected
    assert optim.clipped_update.plain(*map(on_host, lists), **options)[2].tolist() == expected
    assert optim.clipped_update(*map(on_host, lists), **options)[2].tolist() == expected


def test_the_least_divisor_is_a_millionth():
    """Norms of 5e-7 against the 1e-7 allowed: divided by 1e-6 all the same."""
    grad = np.asarray([[3e-7, 0.0], [4e-7, 0.0]])
    arrays = [[cupy.asarray(array)] for array in (np.zeros((2, 2)), grad, np.zeros((2, 2)))]
    options = {**OPTIONS, "eps": 1e-5, "weight_decays": [0.0], "clippings": [0.01]}
    _, (velocity,), counts = updates.clipped_update(*arrays, **options)
    np.testing.assert_allclose(cupy.asnumpy(velocity), grad / 10, rtol=1e-15)
    assert counts.get().tolist() == [1]


@given(problem=problems(), value=st.sampled_from([np.nan, np.inf, 1.0]))
def test_a_step_that_does_not_proceed_changes_no_bit(problem, value):
    params, grads, velocities, options = problem
    grads[0] = np.full_like(grads[0], value)
    arrays = [on_device(arrays) for arrays in (params, grads, velocities)]
    new_params, new_velocities, _ = updates.clipped_update(*arrays, **options, proceed=cupy.asarray(np.asarray(False)))
    assert bits(new_params) == bits(arrays[0]) and bits(new_velocities) == bits(arrays[2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clipping", [None, 0.01])
def test_infinities_and_nan_appear_as_in_the_formula(which, value, decay, clipping):
    random = np.random.default_rng(0)
    three = [[random.standard_normal(shape) for shape in [(5, 40), (6,)]] for _ in range(3)]
    three[which][0][2, 3] = three[which][1][2] = value
    options = {**OPTIONS, "weight_decays": [decay] * 2, "clippings": [clipping] * 2}
    results = updates.clipped_update(*map(on_device, three), **options)
    with np.errstate(invalid="ignore"):
        expected = optim.clipped_update.plain(*three, **options)
    for result, formula in zip([*results[0], *results[1]], [*expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(cupy.asnumpy(result), formula, rtol=1e-12)  # 200 entries, NaN where it has NaN
    assert results[2].get().tolist() == expected[2].tolist()


def test_the_same_shapes_clipped_otherwise_are_cut_otherwise():
    """What depends on shapes is kept: (3, 4) is not (4, 3), nor clipped what was not."""
    random = np.random.default_rng(1)
    for shapes in [[(3, 4), (4, 3)], [(4, 3), (3, 4)]]:
        three = [[random.standard_normal(shape) for shape in shapes] for _ in range(3)]
        for clippings in [[None, 0.01], [0.01, None], [0.01, 0.01], [0.02, 0.01]]:
            options = {**OPTIONS, "weight_decays": [0.1, 0.0], "clippings": clippings}
            results = updates.clipped_update(*map(on_device, three), **options)
            expected = optim.clipped_update.plain(*three, **options)
            for result, formula in zip([*results[0], *results[1]], [*expected[0], *expected[1]], strict=True):
                np.testing.assert_allclose(cupy.asnumpy(result), formula, rtol=1e-13)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("in_units", [False, True])
def test_pieces_cover_every_entry_once_or_whole_units(shape, in_units):
    pieces = fast_lists.pieces_by_tensor(((3, 2), shape), (False, in_units))[0]
    covered, found = np.zeros(shape).reshape(-1), []
    for tensor, first, rows, stride, columns in cupy.asnumpy(pieces).tolist():
        assert columns <= min(stride, 16)
        found.append(rows * columns)
        if tensor:
            entries = first + stride * np.arange(rows)[:, None] + np.arange(columns)
            np.add.at(covered, entries.reshape(-1), 1)
            units = np.arange(covered.size) % (shape[-1] if covered.size and not optim.agc.is_single_unit(shape) else 1)
            if in_units:
                for k in range(columns):
                    mine, = np.unique(units[entries[:, k]])
                    assert rows == np.sum(units == mine)
    assert np.all(covered == 1) and found == sorted(found, reverse=True)


# ---- the norm of everything, and the ascent along it


@given(lists(1), st.sampled_from([1, 3, 512]))
def test_the_global_norm_is_the_formula_for_any_number_of_sums(arrays, sums):
    """n squares and their sum, and a root, which halves what is off: (n + 3)/2 units in all."""
    (arrays,) = arrays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "SUMS", sums)
        norm = optim.global_norm(on_device(arrays))
    expected, count = optim.global_norm(doubles(arrays)), sum(array.size for array in arrays)
    assert norm.shape == () and norm.dtype == arrays[0].dtype
    assert abs(float(norm) - expected) <= (count + 3) * np.finfo(norm.dtype).eps / 2 * expected


@given(lists(2), st.sampled_from([1e-3, 0.05, 1e3]))
def test_the_ascent_is_the_formula_within_rounding(problem, rho):
    """The norm (see above), a quotient, a product and a sum."""
    params, grads = problem
    dtype, count = params[0].dtype, sum(array.size for array in params)
    expected = optim.sam_perturb.plain(doubles(params), doubles(grads), rho=rho)
    ascents = [np.abs(above - w) for above, w in zip(expected, doubles(params), strict=True)]
    limits = [(count + 8) * np.finfo(dtype).eps / 2 * (np.abs(w) + ascent)
              for w, ascent in zip(params, ascents, strict=True)]
    expect_within(fast.sam_perturb(on_device(params), on_device(grads), rho=rho), expected, limits, dtype)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_without_a_direction_the_ascent_is_the_formulas(value):
    """Of zeros nowhere; and if a gradient is no number, nowhere but where that one is."""
    params, grads = [np.ones((3, 5)), np.ones(7)], [np.full((3, 5), float(value != 0)), np.zeros(7)]
    grads[1][2] = value
    with np.errstate(invalid="ignore"):
        expected = optim.sam_perturb.plain(params, grads, rho=0.05)
    for result, formula in zip(fast.sam_perturb(on_device(params), on_device(grads), rho=0.05), expected, strict=True):
        np.testing.assert_array_equal(cupy.asnumpy(result), formula)


@given(lists(1), st.sampled_from([0.5, 1e6]))
def test_clipping_by_the_global_norm_takes_the_kernels_norm(arrays, max_norm):
    """The norm, a quotient and a product."""
    (arrays,) = arrays
    expected, count = optim.clip_by_global_norm(doubles(arrays), max_norm), sum(array.size for array in arrays)
    limit = (count + 8) * np.finfo(arrays[0].dtype).eps / 2
    expect_within(optim.clip_by_global_norm(on_device(arrays), max_norm), expected,
                  [limit * np.abs(array) for array in expected], arrays[0].dtype)


def test_many_learning_rates_make_their_tables_once(monkeypatch):
    """A step after the first one makes none, with a group for each of 40 parameters."""
    parameters = {str(k): nf.Tensor(cupy.ones((k, 3), dtype=cupy.float32), requires_grad=True) for k in range(31, 71)}
    optimizer = optim.SGD(parameters, lr=0.1, lr_factor=lambda name: float(name))
    made, piece_table = [], fast_lists.piece_table
    monkeypatch.setattr(fast_lists, "piece_table", lambda *arguments: made.append(arguments) or piece_table(*arguments))
    for _ in range(2):
        assert len(made) in (0, 40)
        for parameter in parameters.values():
            parameter.grad = cupy.ones_like(parameter.data)
        optimizer.step()
    assert len(made) == 40


# ---- the moving average

@given(lists(2), st.sampled_from([0.0, 0.1, 0.99999]))
def test_the_moving_average_is_the_formula_within_rounding(problem, decay):
    """Two products with rounded factors and a sum: 3 roundings of each term, and one for what is of second order."""
    averages, arrays = problem
    expected = optim.moving_average.plain(doubles(averages), doubles(arrays), decay=decay)
    limits = [4 * np.finfo(a.dtype).eps / 2 * (decay * np.abs(a) + (1 - decay) * np.abs(w))
              for a, w in zip(averages, arrays, strict=True)]
    expect_within(fast.moving_average(on_device(averages), on_device(arrays), decay=decay), expected, limits,
                  averages[0].dtype)


# ---- copies


@given(lists(1))
def test_copies_are_bit_for_bit_and_end_where_their_array_ends(problem):
    (arrays,) = problem
    sources = on_device(arrays)
    targets = [cupy.empty(array.shape, array.dtype) for array in arrays]
    fast.copy_arrays(sources, targets)
    assert bits(targets) == bits(sources)


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_start_at_any_address(dtype):
    array = np.random.default_rng(4).standard_normal(17001).astype(dtype)
    shifted, target = cupy.asarray(array)[1:], cupy.empty(17001, dtype)
    fast.copy_arrays([shifted, shifted], [cupy.empty(17000, dtype), target[1:]])
    assert np.array_equal(target[1:].get(), array[1:])


@pytest.mark.parametrize("shape", [(70,), (5, 3)])
def test_arrays_that_do_not_belong_together_are_not_copied(shape):
    with pytest.raises(ValueError, match="copy_arrays"):
        fast.copy_arrays([cupy.ones((3, 5), dtype=cupy.float32)], [cupy.ones(shape, dtype=cupy.float32)])


# ---- all of them


def every_kernel(params, grads, velocities):
    """All that the kernels compute from three lists, as one list of arrays."""
    options = {**OPTIONS, "weight_decays": [0.1] * len(params), "clippings": [0.01] * len(params)}
    unclipped = {**options, "clippings": [None] * len(params)}
    results = [*fast.scaled_global_norm(grads), *fast.sam_perturb(params, grads, rho=0.05),
               *fast.moving_average(params, grads, decay=0.9)]
    for each in (options, unclipped):
        new_params, new_velocities, counts = updates.clipped_update(params, grads, velocities, **each)
        results += [*new_params, *new_velocities, counts]
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_in_which_threads_run_changes_no_bit(dtype, monkeypatch):
    monkeypatch.setattr(fast, "SUMS", 3)
    random = np.random.default_rng(2)
    three = [on_device([np.asarray(random.standard_normal(shape)).astype(dtype) for shape in SHAPES]) for _ in range(3)]
    results = []
    for order in "012":
        monkeypatch.setenv("CUDA_ON_CPU_ORDER", order)
        results.append(bits(every_kernel(*three)))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_are_read_as_what_they_show_bit_for_bit(dtype):
    """Transposed, and one entry into a buffer, where no 16-byte access may start: sums are in the same order."""
    random = np.random.default_rng(3)
    transposed = [cupy.asarray(random.standard_normal((9, 70)).astype(dtype)).T for _ in range(3)]
    shifted = [cupy.asarray(random.standard_normal(17001).astype(dtype))[1:] for _ in range(3)]
    views = [[t, s] for t, s in zip(transposed, shifted, strict=True)]
    copies = [[cupy.asarray(np.ascontiguousarray(cupy.asnumpy(array))) for array in arrays] for arrays in views]
    assert bits(every_kernel(*views)) == bits(every_kernel(*copies))


def test_inputs_are_left_as_they_are():
    random = np.random.default_rng(4)
    three = [on_device([random.standard_normal(shape) for shape in [(3, 40), (5,)]]) for _ in range(3)]
    before = [bits(arrays) for arrays in three]
    every_kernel(*three)
    assert [bits(arrays) for arrays in three] == before


def test_what_the_kernels_do_not_know_is_left_to_the_formula():
    """Two dtypes, half precision, shapes that broadcast, options whose type would decide the dtype."""
    one, half, single = (cupy.asarray(np.ones((3, 4), dtype)) for dtype in ("float64", "float16", "float32"))
    row, options = cupy.asarray(np.ones(4)), {**OPTIONS, "weight_decays": [0.1], "clippings": [0.01]}
    for three in ([[one], [one], [single]], [[half]] * 3, [[one], [row], [one]], [[one], [one], [one, one]]):
        assert updates.clipped_update(*three, **options) is NotImplemented
    for other in ({"lr": np.float32(0.1)}, {"weight_decays": [np.float64(0.1)]}, {"clippings": [np.float64(0.01)]},
                  {"inverse_scale": cupy.asarray(np.ones((), np.float32))}, {"weight_decays": [0.1, 0.1]},
                  {"inverse_scale": row}, {"proceed": one}, {"proceed": cupy.asarray(np.ones(()))}):
        assert updates.clipped_update([one], [one], [one], **{**options, **other}) is NotImplemented
    assert fast.scaled_global_norm([one, single]) is NotImplemented
    assert fast.scaled_global_norm([half]) is NotImplemented
    assert fast.sam_perturb([one], [row], rho=0.1) is NotImplemented
    assert fast.sam_perturb([one], [one], rho=np.float32(0.1)) is NotImplemented
    assert fast.moving_average([one], [single], decay=0.1) is NotImplemented
    assert fast.moving_average([one], [one], decay=np.float32(0.1)) is NotImplemented


# ---- the optimizers, which find them by themselves


def parameters_of(put, dtype=np.float64):
    random = np.random.default_rng(5)
    shapes = {"conv.weight": (3, 3, 4, 17), "conv.gain": (17,), "conv.bias": (17,), "skip_gain": (),
              "linear.weight": (17, 5), "linear.bias": (5,)}
    return {name: nf.Tensor(put(np.asarray(random.standard_normal(shape)).astype(dtype)), requires_grad=True)
            for name, shape in shapes.items()}


def set_gradients(parameters, put, step):
    random = np.random.default_rng(100 + step)
    for parameter in parameters.values():
        parameter.grad = put(np.asarray(random.standard_normal(parameter.shape)).astype(parameter.dtype))


def train(put, lr_factor=None, steps=4):
    """SAM around SGD, and the moving average: what they leave, on the host, and the shares of units clipped."""
    parameters, shares = parameters_of(put), []
    sgd = optim.SGD(parameters, lr=0.1, weight_decay=0.1, clipping=0.5, lr_factor=lr_factor)
    sam, average = optim.SAM(sgd, rho=0.05), optim.ExponentialMovingAverage(parameters, 0.9)
    for step in range(steps):
        set_gradients(parameters, put, 2 * step)
        sam.first_step()
        set_gradients(parameters, put, 2 * step + 1)
        sam.second_step()
        average.update()
        shares.append(sgd.clipped_fraction())
    lists = [parameter.data for parameter in parameters.values()], sgd.velocity.values(), average.average.values()
    return [nf.backend.to_host(array) for arrays in lists for array in arrays], shares


@pytest.mark.parametrize("lr_factor", [None, lambda name: 0.1 if "linear" in name else 1.0], ids=["same", "by name"])
def test_steps_on_the_gpu_are_those_on_the_host_within_rounding(lr_factor):
    """4 steps of numbers below 10, each two norms of 612 numbers and some 20 roundings."""
    (on_gpu, shares), (on_cpu, expected) = train(cupy.asarray, lr_factor), train(lambda array: array, lr_factor)
    assert shares == expected and any(0.0 < share < 1.0 for share in shares)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * (2 * 612 + 20) * 10 * np.finfo(np.float64).eps)


def test_a_step_is_two_launches_and_waits_for_nothing():
    """The stand-in counts both; CuPy itself does not. So is the ascent; the average is one."""
    launches = getattr(getattr(cupy, "_raw", None), "launches", {})
    waits = getattr(getattr(cupy, "_array", None), "waits", {})
    parameters = parameters_of(cupy.asarray, np.float32)
    sgd = optim.SGD(parameters, lr=0.1)
    sam, average = optim.SAM(sgd), optim.ExponentialMovingAverage(parameters)

    def ascend():
        sam.first_step()
        set_gradients(parameters, cupy.asarray, 1)

    set_gradients(parameters, cupy.asarray, 0)
    waited = dict(waits)
    for action, expected in (
            (ascend, {"sums_of_squares<float>": 1, "sam_perturb<float>": 1}),
            (sam.second_step, {"clipped_update<float>": 1, "totals<int64>": 1}),
            (average.update, {"moving_average<float>": 1})):
        before = dict(launches)
        action()
        started = {name: count - before.get(name, 0) for name, count in launches.items()}
        assert not launches or {name: count for name, count in started.items() if count} == expected
    assert waits == waited and sgd.clipped_units.shape == () and sgd.units == 3 * 1 + 17 + 1


@pytest.mark.parametrize("value", [1.0, np.inf, np.nan])
def test_a_step_divides_by_the_loss_scale_unless_it_overflowed(value):
    """2¹⁶ is taken back without rounding."""
    plain, scaled = (parameters_of(cupy.asarray, np.float32) for _ in range(2))
    for parameters in (plain, scaled):
        set_gradients(parameters, cupy.asarray, 0)
    for parameter in scaled.values():
        parameter.grad = parameter.grad * 2.0**16
    scaled["conv.gain"].grad[3:4] *= value
    if value == 1.0:
        optim.SGD(plain, lr=0.1).step()
    optim.SGD(scaled, lr=0.1, loss_scale=optim.LossScale(nf.backend.get("cupy"), initial=2.0**16)).step()
    assert bits(parameter.data for parameter in plain.values()) == bits(p.data for p in scaled.values())
