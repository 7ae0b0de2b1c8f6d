"""An exported network gives nfnumpy's logits in onnxruntime: every family, activation, operation, size and option.

The bound on a difference is that of nfnumpy.verify.tolerance: eight times the distance between nfnumpy's own results in
float32 and in float64, or eight epsilons of the largest logit.
"""

import types

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

import nfnumpy as nf
from nfnumpy import ops
from nfnumpy.datasets.preprocessing import NORMALIZATIONS
from nfnumpy.models.config import ACTIVATIONS
from nfnumpy.verify.tolerance import allowed, distance
from nfnumpy.weights import OnnxOptions, onnx_export
from nfnumpy.weights.onnx_export import model as onnx_file
from nfnumpy.weights.onnx_export.model import OPERATIONS
from reference_tests.helpers.tiny_networks import BASELINES, RESNET, SMALL_STEM, STEM

TINY = {"widths": (16, 24), "depths": (1, 2), "num_classes": 7}
NFNET = nf.models.NFNetConfig(**TINY, strides=(1, 2), group_size=8, stem_widths=(8, 8, 8, 8), stem_strides=(2, 1, 1, 1))


def with_random_weights(config, dtype="float32", seed=0):
    """A model in which everything matters: factors and variances around 1, biases, means, the last layer not 0."""
    model = nf.models.from_config(config, dtype="float64", seed=seed)
    draws = np.random.default_rng(seed)
    state = model.state_dict()
    for name, array in state.items():
        drawn = draws.standard_normal(array.shape)
        kind = name.rpartition(".")[2]
        if kind in ("gain", "skip_gain", "gamma", "scale"):
            state[name] = 1.0 + 0.2 * drawn
        elif kind == "running_variance":
            state[name] = np.exp(0.3 * drawn)
        elif kind in ("bias", "beta", "running_mean", "mean_weights", "variance_weights"):
            state[name] = 0.1 * drawn
        elif name == "linear.weight":
            state[name] = 0.1 * drawn
    model = nf.models.from_config(config, dtype=dtype)
    model.load_state_dict({name: array.astype("float32") if array.dtype == np.float64 else array
                           for name, array in state.items()}, cast=True)
    return model


def run(content, images, *outputs):
    """What onnxruntime computes."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level, settings.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    return session.run(list(outputs) or ["logits"], {"images": images})


def expect_close(found, exact, own):
    """The bound of the module's docstring."""
    limit = allowed({"logits": exact}, {"logits": own}, {}, "float32")["logits"]
    assert found.dtype == np.float32 and distance(found, exact) <= limit


def logits_in_both(config, images, seed=0):
    """(in float64, in float32) of the network with random weights."""
    with nf.no_grad():
        return [with_random_weights(config, dtype, seed)(images.astype(dtype)).numpy()
                for dtype in ("float64", "float32")]


def expect_same_logits(config, options, batch, seed=0):
    """The exported network gives the logits of the model for `batch` random images."""
    content = nf.weights.onnx_model(with_random_weights(config, seed=seed), options).SerializeToString()
    draws = np.random.default_rng(seed + 1)
    images = draws.standard_normal((batch, options.image_size, options.image_size, config.in_channels), np.float32)
    given = images.transpose(0, 3, 1, 2) if options.layout == "NCHW" else images
    found, = run(content, np.ascontiguousarray(given))
    expect_close(found, *logits_in_both(config, images, seed))


@settings(max_examples=12)
@given(data=st.data())
def test_any_network_at_any_size_gives_the_same_logits(data):
    family = data.draw(st.sampled_from(nf.models.NORMALIZER_FREE))
    depth = data.draw(st.integers(1, 3))
    fields = {"widths": tuple(data.draw(st.sampled_from([16, 24])) for _ in range(depth)),
              "depths": tuple(data.draw(st.integers(1, 2)) for _ in range(depth)),
              "strides": tuple(data.draw(st.integers(1, 2)) for _ in range(depth)), "num_classes": 5,
              "in_channels": data.draw(st.sampled_from([1, 3])), "activation": data.draw(st.sampled_from(ACTIVATIONS))}
    if family is nf.models.NFResNetConfig:
        fields |= {"use_se": data.draw(st.booleans()), "stem_pool": data.draw(st.booleans())}
    else:
        fields |= {"group_size": 8}
    options = OnnxOptions(data.draw(st.integers(5, 40)), layout=data.draw(st.sampled_from(["NCHW", "NHWC"])),
                          batch=data.draw(st.sampled_from([None, 3])), opset=data.draw(st.integers(13, 23)))
    expect_same_logits(family(**fields), options, options.batch or data.draw(st.integers(1, 4)))


@pytest.mark.parametrize("activation, opset", [*((name, 17) for name in ACTIVATIONS), ("gelu", 20), ("gelu_erf", 20)])
def test_every_activation_of_a_network(activation, opset):
    config = nf.models.NFNetConfig(widths=(16,), depths=(1,), strides=(1,), group_size=8, stem_widths=(8,),
                                   stem_strides=(2,), num_classes=5, activation=activation)
    expect_same_logits(config, OnnxOptions(13, opset=opset), 2)


@pytest.mark.parametrize("name, size", [("nfnet_8px", 9), ("nfnet_32px", 32), ("nf_resnet_32px", 31),
                                        ("nf_regnet_32px", 33)])
def test_the_small_variants(name, size):
    expect_same_logits(nf.models.config_of(name), OnnxOptions(size), 5)


@pytest.mark.parametrize("name, narrower", [
    ("nfnet_f0", {"widths": (32, 64, 96, 96), "group_size": 16}), ("nf_resnet50", {"widths": (32, 64, 96, 128)}),
    ("nf_regnet_b0", {"widths": (16, 24, 32, 40)})])
def test_the_published_variants_with_narrower_stages(name, narrower):
    """Their stems, strides, depths and kinds of blocks."""
    expect_same_logits(nf.models.config_of(name, num_classes=11, **narrower), OnnxOptions(65), 2)


@pytest.mark.parametrize("name", BASELINES)
def test_the_networks_that_normalizer_free_ones_are_compared_with(name):
    """Inception v3 needs 75 pixels; 34, which is even and no multiple of 4, has symmetric padding at odd places."""
    expect_same_logits(BASELINES[name], OnnxOptions(79 if name == "inception_v3" else 34), 2)


@pytest.mark.parametrize("norm", nf.nn.NORMS)
def test_a_resnet_with_any_normalization(norm):
    """Groups of several channels in every layer; images whose moments differ."""
    expect_same_logits(nf.models.ResNetConfig(**RESNET, **SMALL_STEM, norm=norm), OnnxOptions(13, layout="NHWC"), 3)


def test_no_family_is_left_out():
    assert {*map(type, BASELINES.values()), *nf.models.NORMALIZER_FREE} == set(nf.models.CONFIGS)


def test_a_folded_network_has_no_normalization_left():
    model = with_random_weights(nf.models.ResNetConfig(**RESNET, **STEM))
    operators_of = [[node.op_type for node in nf.weights.onnx_model(network, OnnxOptions(34)).graph.node]
                    for network in (model, nf.models.folded(model))]
    assert [found.count("BatchNormalization") for found in operators_of] == [12, 0]
    assert operators_of[1].count("Conv") == operators_of[0].count("Conv")


def test_running_statistics_are_named_as_in_nfnumpy():
    model = with_random_weights(nf.models.ResNetConfig(**RESNET, **STEM))
    names = {one.name for one in nf.weights.onnx_model(model, OnnxOptions(34)).graph.initializer}
    assert model.state_dict().keys() <= names


def test_one_file_serves_every_batch_size():
    images = np.random.default_rng(3).standard_normal((6, 11, 11, 3), np.float32)
    content = nf.weights.onnx_model(with_random_weights(NFNET), OnnxOptions(11)).SerializeToString()
    exact, own = logits_in_both(NFNET, images)
    for batch in (1, 2, 6):
        found, = run(content, np.ascontiguousarray(images[:batch].transpose(0, 3, 1, 2)))
        expect_close(found, exact[:batch], own[:batch])


# ---- operations


def mean(x):
    """(N, H, W, C) as (N, C)."""
    return ops.mean(x, axis=(1, 2))


VECTOR = np.array([0.5, -1.5, 2.0], np.float32)
KERNEL = np.random.default_rng(0).standard_normal((3, 2, 3, 4)).astype(np.float32)
MATRIX = np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)
KERNEL_1 = np.random.default_rng(2).standard_normal((1, 1, 3, 3)).astype(np.float32)


def normalized(x):
    """Moments far enough from 0 and 1 to be seen, and a negative factor."""
    return ops.normalize(x, VECTOR, 1.0 - VECTOR, VECTOR / 2, VECTOR * VECTOR, eps=1e-3)


def switched(x, gamma, beta, **options):
    """Weights whose softmaxes have three different shares, and moments of the batch."""
    return ops.switchable_norm(x, gamma, beta, VECTOR, -VECTOR, beta, gamma * gamma, **options)


def in_both_ranks(norm, x, **options):
    """The normalization of images and of their means, twice as many channels, with a scale that is not applied yet."""
    channels = np.concatenate([VECTOR, -VECTOR]), np.concatenate([1.0 - VECTOR, VECTOR])
    pair = ops.concatenate(ops.log_sigmoid(x), x * x, axis=3)
    return mean(ops.relu(norm(pair, *channels, eps=1e-3, **options))) + norm(ops.global_mean(pair), *channels, eps=0.5,
                                                                            **options)


def excited(x, **options):
    """Squeeze-and-excite with constant weights."""
    return ops.squeeze_excite(x, MATRIX, VECTOR, MATRIX, VECTOR, **options)


def to_itself(x):
    """A residual update whose two inputs are one array, which factors of the residual alone must not change."""
    return ops.skip_init(x, x, np.float32(0.7), alpha=0.2)


TABLE = {  # operation: a function of images (N, H, W, 3) with one result a class, (N, classes)
    "conv2d": lambda x: mean(ops.conv2d(ops.relu(x) * 1.0, KERNEL, stride=(2, 1), dilation=(1, 2), padding="VALID")),
    "linear": lambda x: ops.linear(ops.global_mean(x), MATRIX),
    "normalize": lambda x: mean(normalized(ops.relu(x) * 2.0)) + normalized(ops.global_mean(x)),
    "group_norm": lambda x: in_both_ranks(ops.group_norm, x, groups=2),
    "instance_norm": lambda x: in_both_ranks(ops.instance_norm, x),
    "layer_norm": lambda x: in_both_ranks(ops.layer_norm, x, over="image") + in_both_ranks(ops.layer_norm, x,
                                                                                           over="channels"),
    "switchable_norm": lambda x: sum((in_both_ranks(switched, x, unbiased=form) for form in (True, False)), start=0.0),
    "avg_pool": lambda x: mean(ops.avg_pool(x, window=3, stride=2)),
    "max_pool": lambda x: mean(ops.max_pool(ops.log_sigmoid(x), window=(2, 3), padding=((1, 0), (0, 2)))),
    "global_mean": lambda x: ops.global_mean(ops.log_sigmoid(x)) + ops.global_mean(excited(x)),
    "squeeze_excite": lambda x: mean(ops.relu(excited(ops.log_sigmoid(x))) + excited(
        x, activation="log_sigmoid", scale=1.0) + excited(x, activation="gelu", scale=0.5)),
    "skip_init": lambda x: mean(to_itself(ops.conv2d(x, KERNEL_1)) + to_itself(excited(x))),
    "scaled_nonlinearity": lambda x: mean(ops.scaled_nonlinearity(x, name="gelu", scale=1.7)),
    "scaled_nonlinearity_known_by_output": lambda x: mean(ops.scaled_nonlinearity_known_by_output(
        x, name="relu", scale=1.7)),
    "rectified_sum": lambda x: mean(ops.rectified_sum(ops.relu(x) * 2.0, -x) + ops.rectified_sum(excited(x), x)),
    **{name: lambda x, name=name: mean(getattr(ops, name)(x)) for name in
       ("identity", "relu", "relu6", "leaky_relu", "tanh", "sigmoid", "gelu", "gelu_erf", "silu", "elu", "celu", "selu",
        "softplus", "log_sigmoid", "softsign", "softmax", "log_softmax", "negative", "exp", "absolute", "erf")},
    "glu": lambda x: mean(ops.glu(ops.concatenate(x, x * 2.0, axis=3))),
    "add": lambda x: mean(ops.add(x, VECTOR) + x + 0.5),
    "subtract": lambda x: ops.subtract(VECTOR, mean(x)),
    "multiply": lambda x: mean(ops.multiply(VECTOR, ops.gelu(x))),
    "divide": lambda x: mean(ops.divide(1.0, ops.exp(x)) / VECTOR),
    "maximum": lambda x: mean(ops.maximum(x, VECTOR)),
    "minimum": lambda x: mean(ops.minimum(x, 0.25)),
    "log": lambda x: mean(ops.log(ops.absolute(x) + 1.0)),
    "sqrt": lambda x: mean(ops.sqrt(ops.absolute(x))),
    "clip": lambda x: mean(ops.clip(ops.clip(x, low=None, high=0.5), low=-1.0, high=None)),
    "power": lambda x: mean(ops.power(x, exponent=3)),
    "concatenate": lambda x: ops.concatenate(mean(ops.concatenate(x, x * 2.0, x, axis=1)), mean(x), axis=1),
    "pad": lambda x: ops.pad(mean(ops.avg_pool(ops.pad(x * 2.0, widths=((0, 0), (1, 2), (0, 3), (0, 1)), value=0.5),
                                               window=3, stride=1, padding="VALID")), widths=((0, 0), (2, 0))),
    "sum": lambda x: ops.sum(ops.sum(x, axis=2, keepdims=True), axis=(1, 2)),
    "mean": lambda x: ops.mean(x, axis=(-2, 1)),
    "max": lambda x: ops.max(x, axis=(1, 2)),
    "min": lambda x: ops.max(ops.min(x, axis=(3,)), axis=1),
}


class OneOperation(nf.nn.Module):
    """A network that is a function of its images."""

    def __init__(self, function, image_size):
        self.function = function
        self.linear = nf.nn.Linear(nf.nn.Initializer(), 1, 1)
        classes = function(nf.Tensor(np.zeros((1, image_size, image_size, 3), np.float32))).shape[1]
        self.config = types.SimpleNamespace(in_channels=3, num_classes=classes)

    def __call__(self, x):
        return self.function(nf.Tensor(x))


@pytest.mark.parametrize("name, opset", [*((name, 17) for name in sorted(OPERATIONS.keys() | TABLE.keys())),
                                         *((name, 23) for name in ("sum", "mean", "max", "min", "glu"))])
def test_every_operation(name, opset):
    network = OneOperation(TABLE[name], 7)
    images = np.random.default_rng(7).standard_normal((3, 7, 7, 3), np.float32)
    options = OnnxOptions(7, layout="NHWC", opset=opset)
    found, = run(nf.weights.onnx_model(network, options).SerializeToString(), images)
    with nf.no_grad():
        own = network(images).numpy()
    # Pointwise formulas of at most 16 roundings, sums of at most 49 terms, in numbers of at most 10.
    assert found.shape == own.shape and np.abs(found - own).max() <= (16 + 49) * np.finfo(np.float32).eps * 10


@pytest.mark.parametrize("function, complaint", [
    (lambda x: mean(ops.flip(x)), "executes 'flip', which has no ONNX form"),
    (lambda x: ops.max(normalized(ops.max(x, axis=3, keepdims=False)), axis=1), "normalize of an array with 3 axes"),
    (lambda x: ops.max(ops.instance_norm(ops.max(x, axis=3), VECTOR, VECTOR), axis=1), "norm of an array with 3 axes"),
    (lambda x: mean(ops.switchable_norm(ops.pad(x, widths=((1, 0), *[(0, 0)] * 3)), *[VECTOR] * 4)),
     "switchable_norm with the moments of the batch"),
    (lambda x: ops.max(ops.max(x, axis=1), axis=1), "over one of height and width"),
    (lambda x: mean(x * ops.sum(x, axis=(0, 1, 2))), "repeats one axis"),
    (lambda x: ops.linear(mean(x), MATRIX, ops.sum(mean(x), axis=0)), "weights that depend on the images"),
    (lambda x: mean(x * ops.sum(x)), "sum of all images' values has no ONNX form"),
    (lambda x: mean(nf.Tensor(x.data * 2.0)), "computed outside of nfnumpy.ops"),
    (lambda x: mean(x + x.data[:, :1, :1] * 2.0), "computed outside of nfnumpy.ops")])
def test_what_has_no_onnx_form_is_refused_in_one_line(function, complaint):
    with pytest.raises(nf.InputError, match=f"export: .*{complaint}") as refusal:
        nf.weights.onnx_model(OneOperation(function, 3), OnnxOptions(3))
    assert str(refusal.value).isprintable()


# ---- the graph


def operators(config, **options):
    """The operators of the exported graph, with repetitions."""
    proto = nf.weights.onnx_model(with_random_weights(config), OnnxOptions(16, **options))
    return [node.op_type for node in proto.graph.node]


def test_weights_are_standardized_once_and_named_as_in_nfnumpy():
    model = with_random_weights(NFNET)
    constants = {one.name: onnx.numpy_helper.to_array(one)
                 for one in nf.weights.onnx_model(model, OnnxOptions(16)).graph.initializer}
    kernel = model.stem_convs[0].kernel().numpy()
    assert np.array_equal(constants["stem_convs.0.weight"], kernel.transpose(3, 2, 0, 1))
    assert {name for name in model.parameters() if not name.endswith("gain")} <= constants.keys()


def test_constant_factors_leave_no_operation_where_no_nonlinearity_is_between():
    resnet = nf.models.NFResNetConfig(**TINY, strides=(1, 2))
    assert "Mul" not in operators(resnet)  # gamma, beta, alpha and skip gains are in the convolutions
    with_gates = operators(nf.models.NFResNetConfig(**TINY, strides=(1, 2), use_se=True))
    assert with_gates.count("Mul") == 2 * 3  # a gate times its constant and an image times its gate, in three blocks


def test_the_file_is_no_newer_than_its_opset_needs_and_uses_onnxs_own_gelu_where_there_is_one():
    for opset, ir_version in ((13, 7), (17, 8), (20, 9)):
        proto = nf.weights.onnx_model(with_random_weights(NFNET), OnnxOptions(16, opset=opset))
        assert proto.ir_version == ir_version and [one.version for one in proto.opset_import] == [opset]
        assert ("Gelu" in {node.op_type for node in proto.graph.node}) == (opset >= 20)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_uint8_images_are_normalized_inside_and_probabilities_are_a_second_output(normalization):
    colors = NORMALIZATIONS[normalization]
    images = np.random.default_rng(4).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for layout in ("NCHW", "NHWC"):
        options = OnnxOptions(16, uint8=True, layout=layout, softmax=True, normalization=normalization)
        content = nf.weights.onnx_model(with_random_weights(NFNET), options).SerializeToString()
        given = images.transpose(0, 3, 1, 2) if layout == "NCHW" else images
        logits, probabilities = run(content, np.ascontiguousarray(given), "logits", "probabilities")
        normalized = (images / 255.0 - colors.mean) / colors.standard_deviation
        expect_close(logits, *logits_in_both(NFNET, normalized))
        assert np.abs(probabilities - nf.ops.softmax(logits).numpy()).max() <= 16 * np.finfo(np.float32).eps


@pytest.mark.parametrize("options, complaint", [
    ({"image_size": 0}, "image size 0"), ({"image_size": 2.5}, "image size 2.5"), ({"image_size": 10**9}, "image size"),
    ({"batch": 0}, "batch 0"), ({"opset": 12}, "opset 12.*from 13 to 23"), ({"opset": 24}, "opset 24"),
    ({"normalization": "none"}, "normalization none"), ({"layout": "HWC"}, "layout HWC"),
    ({"uint8": "on"}, "uint8 on")])
def test_options_out_of_range_are_one_line(options, complaint):
    with pytest.raises(nf.InputError, match=f"export: {complaint}") as refusal:
        OnnxOptions(**{"image_size": 8, **options})
    assert str(refusal.value).isprintable()


def test_what_cannot_be_exported_is_one_line(monkeypatch):
    model = with_random_weights(NFNET)
    grey = nf.models.from_config(nf.models.NFResNetConfig(**TINY, strides=(1, 2), in_channels=1))
    with pytest.raises(nf.InputError, match="uint8 images have 3 channels, the network's have 1"):
        nf.weights.onnx_model(grey, OnnxOptions(16, uint8=True))
    with monkeypatch.context() as patch:
        patch.setattr(onnx_file, "LARGEST", 1000)
        with pytest.raises(nf.InputError, match=r"weights have 0\.00 GiB.*less than 2 GiB"):
            nf.weights.onnx_model(model, OnnxOptions(16))
    monkeypatch.setitem(__import__("sys").modules, "onnx.checker", None)
    with pytest.raises(nf.InputError, match=r"pip install 'nfnumpy\[onnx\]'"):
        nf.weights.onnx_model(model, OnnxOptions(16))


# ---- the comparison


def test_a_wrong_network_is_found_by_the_comparison_and_a_right_one_passes():
    model = with_random_weights(NFNET)
    options = OnnxOptions(16, uint8=True)
    proto = nf.weights.onnx_model(model, options)
    right = onnx_export.compare_with_onnxruntime(model, proto, options)
    assert right.runtime == onnxruntime.__version__ and 0.0 < right.exported <= right.allowed < 1e-4
    constant = next(one for one in proto.graph.initializer if one.name == "blocks.1.conv1.weight")
    changed = onnx.numpy_helper.to_array(constant) * np.float32(1.001)
    constant.CopyFrom(onnx.numpy_helper.from_array(changed, constant.name))
    with pytest.raises(nf.InputError, match="differ by .* rounding explains .* nothing was written"):
        onnx_export.compare_with_onnxruntime(model, proto, options)
    proto.graph.node[0].op_type = "Unheard"
    with pytest.raises(nf.InputError, match="onnxruntime refuses the network"):
        onnx_export.compare_with_onnxruntime(model, proto, options)


def test_a_file_for_large_batches_is_compared_on_two_images_and_stays_as_it_is():
    model, options = with_random_weights(NFNET), OnnxOptions(16, batch=10**6)
    proto = nf.weights.onnx_model(model, options)
    content = proto.SerializeToString()
    assert onnx_export.compare_with_onnxruntime(model, proto, options) is not None
    assert proto.SerializeToString() == content


@pytest.mark.filterwarnings("ignore:invalid value")  # infinity times 0
@pytest.mark.parametrize("value, complaint", [(0.0, "all 0"), (np.inf, "infinite"), (np.nan, "infinite")])
def test_nothing_is_compared_where_no_logit_says_anything(value, complaint):
    model = with_random_weights(NFNET)
    model.load_state_dict({**model.state_dict(), "linear.weight": np.full((48, 7), value, np.float32),
                           "linear.bias": np.zeros(7, np.float32)})
    options = OnnxOptions(16)
    with pytest.raises(nf.InputError, match=f"{complaint}.*--check off"):
        onnx_export.compare_with_onnxruntime(model, nf.weights.onnx_model(model, options), options)
