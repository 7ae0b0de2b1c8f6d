"""Parameters and multiply-adds against published tables, to every printed digit."""

import functools

import numpy as np
import pytest

import nfnumpy as nf

# NFNet paper, table 1 (and 6 for parameters): millions of parameters, billions of multiply-adds at test size.
PUBLISHED = {"nfnet_f0": ("71.5", "12.38"), "nfnet_f1": ("132.6", "35.54"), "nfnet_f2": ("193.8", "62.59"),
             "nfnet_f3": ("254.9", "114.76"), "nfnet_f4": ("316.1", "215.24"), "nfnet_f5": ("377.2", "289.76"),
             "nfnet_f6": ("438.4", "377.28")}

# torchvision's ResNets: their batch norms have as many scales and shifts as our convolutions have gains and biases, so
# that an NF-ResNet differs by one skip gain a block. torchvision prints two decimals of its multiply-adds.
RESNETS = {"nf_resnet50": (25_557_032, "4.09"), "nf_resnet101": (44_549_160, "7.80"),
           "nf_resnet152": (60_192_808, "11.51")}

# Networks with normalizations: exact parameters with 1000 classes, and billions of multiply-adds at test size where
# timm's tables print them. Those count two for each value that a normalization puts out.
BASELINES = {"resnet18": (11_689_512, None), "resnet34": (21_797_672, None), "resnet50": (25_557_032, "4.11"),
             "resnet101": (44_549_160, None), "resnet152": (60_192_808, None), "resnetv2_18": (11_687_720, None),
             "resnetv2_34": (21_795_880, None), "resnetv2_50": (25_549_352, None), "resnetv2_101": (44_541_480, None),
             "resnetv2_152": (60_185_128, None), "resnet50d": (25_576_264, "4.35"),
             "resnext50_32x4d": (25_028_904, "4.26"), "seresnext50_32x4d": (27_559_896, "4.26"),
             "seresnext26d_32x4d": (16_809_512, "2.73"), "seresnext101d_32x8d": (93_588_280, "16.72"),
             "densenet121": (7_978_856, "2.87"), "densenet161": (28_681_000, None), "densenet169": (14_149_480, None),
             "densenet201": (20_013_928, None), "inception_v3": (23_834_568, "5.73"),
             "efficientnet_b0": (5_288_548, "0.40"), "efficientnet_b1": (7_794_184, "0.71"),
             "efficientnet_b2": (9_109_994, "1.02"), "efficientnet_b3": (12_233_232, "1.87"),
             "efficientnet_b4": (19_341_616, "4.49"), "efficientnet_b5": (30_389_784, "10.46"),
             "efficientnet_b6": (43_040_704, "19.40"), "efficientnet_b7": (66_347_960, "38.33"),
             "mobilenetv1": (4_231_976, "0.58"), "mobilenetv2": (3_504_872, "0.31")}

# (parameters, multiply-adds at their size) of the project's own small models: their checkpoints depend on the shapes.
OWN = {"nfnet_8px": (88_933, 1_164_672), "nfnet_16px": (122_741, 5_076_480), "nfnet_32px": (191_414, 19_889_664),
       "nfnet_wide_32px": (2_125_246, 85_796_864), "nfnet_64px": (651_486, 84_567_040),
       "nf_resnet_32px": (220_384, 33_737_216), "nf_regnet_32px": (218_163, 19_163_366),
       "resnet_8px": (88_218, 1_152_768), "resnet_16px": (126_274, 5_033_856), "resnet_32px": (195_106, 19_595_136),
       "resnet_64px": (650_314, 84_274_944),
       "se_resnext_8px": (90_042, 1_152_192), "se_resnext_16px": (120_414, 4_996_896),
       "se_resnext_32px": (192_822, 20_003_328), "se_resnext_64px": (657_890, 82_699_904),
       "efficientnet_8px": (90_890, 1_144_192), "efficientnet_16px": (121_780, 5_085_376),
       "efficientnet_32px": (191_494, 19_880_320), "efficientnet_64px": (650_390, 84_480_384)}
SMALL = [name for name in nf.models.names() if nf.models.config_of(name).train_size <= 64]


def shapes(name):
    return nf.models.create(name, shapes_only=True)


@functools.cache
def count_params(name):
    return nf.analysis.count_params(shapes(name))


@functools.cache
def count_flops(name, normalizations=False):
    """Without standardizing the weights, which changes no shape and would take most of the time."""
    model = shapes(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nf.nn.WSConv2D, "kernel", lambda layer: layer.weight)
        return nf.analysis.count_flops(model, *[model.config.test_size] * 2, normalizations=normalizations)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_exactly_the_published_parameters_and_multiply_adds(name):
    parameters, flops = BASELINES[name]
    assert count_params(name) == parameters
    assert flops is None or f"{count_flops(name, normalizations=True) / 1e9:.2f}" == flops


# torchvision's tables, whose multiply-adds are those of convolutions and linear layers alone.
WITHOUT_NORMS = {"resnet18": "1.81", "resnet50": "4.09", "resnet101": "7.80", "resnet152": "11.51",
                 "densenet121": "2.83", "densenet161": "7.73", "densenet169": "3.36", "densenet201": "4.29",
                 "inception_v3": "5.71"}


@pytest.mark.parametrize("name", WITHOUT_NORMS)
def test_multiply_adds_without_normalizations_equal_torchvisions_tables(name):
    assert f"{count_flops(name) / 1e9:.2f}" == WITHOUT_NORMS[name]


def test_a_normalization_counts_two_for_each_value():
    """A pre-activation ResNet of one block: norm0 and norm1 see the stem's output or half of it, final_norm the end."""
    config = nf.models.ResNetV2Config(widths=(16,), depths=(1,), strides=(1,), stem_width=8, stem_kernel=3,
                                      stem_stride=1, stem_pool=False)
    model = nf.models.from_config(config, shapes_only=True)
    found = nf.analysis.operation_costs(model, 6, 5, normalizations=True)
    assert [cost for cost in found if "norm" not in cost[0]] == nf.analysis.operation_costs(model, 6, 5)
    assert [count for name, _, count in found if "norm" in name] == [2 * 6 * 5 * c for c in (8, 4, 4, 16)]


def test_f0_has_exactly_the_published_parameters():
    assert count_params("nfnet_f0") == 71_489_284


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_equal_the_published_table(name):
    assert (f"{count_params(name) / 1e6:.1f}", f"{count_flops(name) / 1e9:.2f}") == PUBLISHED[name]


@pytest.mark.parametrize("suffix", ["", "+"])
def test_parameters_of_the_f_family_grow_in_equal_steps(suffix):
    """All depths are those of F0 times k + 1, and only a stage's first block differs from its others; up to F7."""
    counts = [count_params(f"nfnet_f{k}{suffix}") for k in range(8)]
    assert len(set(np.diff(counts).tolist())) == 1


@pytest.mark.parametrize("name", RESNETS)
def test_an_nf_resnet_has_a_resnets_parameters_and_skip_gains(name):
    parameters, flops = RESNETS[name]
    assert count_params(name) == parameters + sum(nf.models.config_of(name).depths)
    assert f"{count_flops(name) / 1e9:.2f}" == flops


@pytest.mark.parametrize("larger, smaller", [
    *((f"nfnet_f{k}+", f"nfnet_f{k}") for k in range(8)), *((f"nfnet_f{k + 1}", f"nfnet_f{k}") for k in range(7)),
    *((f"nf_regnet_b{k + 1}", f"nf_regnet_b{k}") for k in range(8)),
    ("nf_resnet200", "nf_resnet152"), ("nf_resnet288", "nf_resnet200"), ("nf_resnet600", "nf_resnet288")])
def test_the_larger_variant_costs_more(larger, smaller):
    assert count_params(larger) > count_params(smaller)
    assert count_flops(larger) > count_flops(smaller)


def test_a_count_by_hand_of_a_small_network():
    """Every convolution and linear layer of one block, written out; the image is 9 × 8, strides round up."""
    config = nf.models.NFResNetConfig(widths=(8,), depths=(1,), strides=(1,), stem_kernel=3, stem_stride=2,
                                      stem_pool=False, use_se=True, num_classes=5)
    model = nf.models.NFResNet(config)
    pixels = 5 * 4
    convolutions = {"stem": 3 * 3 * 3 * 2, "shortcut": 2 * 8, "conv0": 2 * 2, "conv1": 3 * 3 * 2 * 2, "conv2": 2 * 8}
    excitation = 8 * 2 + 2 * 8
    linear = 8 * 5
    gains_and_biases = 2 * (2 + 8 + 2 + 2 + 8)
    assert nf.analysis.count_flops(model, 9, 8) == pixels * sum(convolutions.values()) + excitation + linear
    assert nf.analysis.count_params(model) == sum(convolutions.values()) + gains_and_biases \
        + excitation + (2 + 8) + linear + 5 + 1


@pytest.mark.parametrize("name", nf.models.names())
def test_a_model_of_shapes_has_its_classes_and_no_memory(name):
    model = nf.models.create(name, shapes_only=True, num_classes=11)
    assert model.linear.weight.shape[1] == 11
    assert all(not any(array.strides) for array in model.state_dict().values())


@pytest.mark.parametrize("name", SMALL)
def test_every_small_model_runs_forward_and_backward_at_its_size(name):
    model = nf.models.create(name)
    size = model.config.train_size
    images = np.random.default_rng(0).standard_normal((2, size, size, 3)).astype(np.float32)
    logits = model(images, training=True)
    nf.ops.softmax_cross_entropy(logits, np.asarray([0, 9])).backward()
    assert logits.shape == (2, 10) and np.isfinite(logits.numpy()).all()
    for key, parameter in model.parameters().items():
        assert isinstance(parameter.grad, np.ndarray) and parameter.grad.dtype == np.float32, key
        assert parameter.grad.shape == parameter.shape, key
        assert np.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", OWN)
def test_small_models_keep_their_shapes(name):
    assert (count_params(name), count_flops(name)) == OWN[name]


@pytest.mark.parametrize("pixels", [8, 16, 32, 64])
@pytest.mark.parametrize("family", ["resnet", "se_resnext", "efficientnet"])
def test_small_baselines_cost_what_the_small_nfnets_cost(family, pixels):
    """Within 5 % in parameters and in multiply-adds, for fair comparisons."""
    for ours, nfnet in zip(OWN[f"{family}_{pixels}px"], OWN[f"nfnet_{pixels}px"], strict=True):
        assert abs(ours / nfnet - 1) < 0.05


# Papers' tables: training and test pixels of F0 … F7; depths and pixels of NF-RegNet-B0 … B8.
F_PIXELS = [(192, 256), (224, 320), (256, 352), (320, 416), (384, 512), (416, 544), (448, 576), (480, 608)]
B_TABLE = [((1, 3, 6, 6), 192, 224), ((2, 4, 7, 7), 224, 256), ((2, 4, 8, 8), 240, 272), ((2, 5, 9, 9), 288, 320),
           ((2, 6, 11, 11), 320, 384), ((3, 7, 14, 14), 384, 456), ((3, 8, 16, 16), 448, 528),
           ((4, 10, 19, 19), 512, 600), ((4, 11, 22, 22), 600, 672)]


@pytest.mark.parametrize("k, factor", list(enumerate([1.0, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2])))
def test_nf_regnets_have_b0s_widths_times_efficientnets_factors(k, factor):
    """To the nearest multiples of 8, halves up."""
    expected = tuple(8 * int(width * factor / 8 + 0.5 + 1e-9) for width in (48, 104, 208, 440))
    assert nf.models.config_of(f"nf_regnet_b{k}").widths == expected


def test_variants_have_the_sizes_and_depths_of_the_papers():
    for k, pixels in enumerate(F_PIXELS):
        for name in (f"nfnet_f{k}", f"nfnet_f{k}+"):
            config = nf.models.config_of(name)
            assert (config.train_size, config.test_size) == pixels
    for k, row in enumerate(B_TABLE):
        config = nf.models.config_of(f"nf_regnet_b{k}")
        assert (config.depths, config.train_size, config.test_size) == row
