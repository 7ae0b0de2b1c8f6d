"""Weight-standardized convolutions, normalizations, squeeze-and-excite, stochastic depth, nonlinearities with gamma."""

from ....functional.activations import GAMMA
from . import Rule, called, first_in, like, words_of

WEIGHT = like(r"weight|kernel(?!_size|_shape)|^w$|^filters?$")
INPUT = frozenset(("x", "input", "inputs", "images", "hidden_states", "z", "h"))
MEANS = ("mean", "reduce_mean", "moments", "var_mean", "std_mean", "average", "batch_norm", "nanmean")
VARIANCES = ("var", "std", "variance", "reduce_variance", "reduce_std", "moments", "var_mean", "std_mean", "batch_norm",
             "square", "pow", "**")
FUNCTIONAL_NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "native_layer_norm",
                    "batch_normalization")
POOLS = ("adaptive_avg_pool2d", "adaptiveavgpool2d", "globalaveragepooling2d", "global_average_pooling2d", "mean",
         "reduce_mean", "avg_pool2d", "avg_pool", "globalavgpool2d")
OTHER_POOLS = like(r"max_?pool|^amax$|reduce_max|softmax")
LAYERS = ("linear", "conv2d", "dense", "conv", "conv1x1", "dot", "matmul", "einsum", "lazylinear", "lazyconv2d", "@")
WIDTH = like(r"reduction|ratio|rd_|hidden|squeeze|bottleneck|^r$|^red|se_ch|divisor")
CHANNELS = like(r"chan|chs$|^dim$|features|planes|filters|^c$|^in_ch|^n_?f$|^in_c|^out_c")
RANDOM = ("bernoulli", "bernoulli_", "rand", "random_uniform", "uniform", "uniform_", "stateless_uniform", "rand_like",
          "random", "binomial")
RATES = like(r"drop_?(prob|rate|path|connect)?|rate|keep|survival|^p$|prob")
# GAMMA of relu is √(2/(1 - 1/π)) in some ports; identity and the two that are nearly 1 would fit any number.
KNOWN_GAMMA = (1.7128585504496627, *(gamma for gamma in GAMMA.values() if gamma > 1.01))


def _ws_signature(definition):
    base = next((base for base in definition.bases if "conv" in base.lower()), None)
    if base:
        return f"its base is {base}"
    if definition.is_class:
        weight = next(filter(WEIGHT, definition.inputs), None)
        return f"it is called with {weight}" if weight and not INPUT & set(definition.inputs) else ""
    given = definition.parameters
    weight = next(filter(WEIGHT, given), None)
    return f"it takes {weight}" if weight and not INPUT & set(given) and len(given) <= 6 else ""


def _ws_source(definition):
    helper = next((call.name for call in definition.calls if "standardi" in call.name and any(map(WEIGHT, call.of))),
                  None)
    if helper:
        return f"it calls {helper} on a weight"
    mean, variance = (definition.calls_any(names, WEIGHT) for names in (MEANS, VARIANCES))
    if mean and variance and (definition.divides or mean == "batch_norm"):
        return "it divides a weight by its standard deviation, after its mean"
    return ""


def _norm_signature(definition):
    base = next((base for base in definition.bases if base.lower().endswith(("norm", "norm1d", "norm2d", "norm3d",
                                                                             "batchnormalization", "normalization"))),
                None)
    if base:
        return f"its base is {base}"
    given = set(definition.parameters)
    if definition.is_class:
        return "it is made for a number of channels and an eps" if any(map(CHANNELS, given)) and any(
            "eps" in name for name in given) else ""
    scale = first_in(definition.parameters, ("gamma", "scale", "weight", "gain"))
    shift = first_in(definition.parameters, ("beta", "offset", "bias", "shift", "running_mean", "moving_mean"))
    return f"it takes x, {scale} and {shift}" if INPUT & given and scale and shift else ""


def _norm_source(definition):
    function = definition.calls_any(FUNCTIONAL_NORMS, INPUT.__contains__)
    if function:
        return f"it calls {function} on its input"
    mean, variance = (definition.calls_any(names, INPUT.__contains__) for names in (MEANS, VARIANCES))
    return "it divides its input by its standard deviation" if mean and variance and definition.divides else ""


def _se_name(definition):
    if _is_se(definition):
        return _is_se(definition)
    has_maximum = any(OTHER_POOLS(call.name) for call in definition.calls)
    return "" if has_maximum else _is_channel_attention(definition)


_is_se = called(r"squeeze|excit|(^|_)se(_|$)|(^|_)se(layer|module|block|unit)")
_is_channel_attention = called(r"channel_(attn|attention|gate)")


def _se_signature(definition):
    width, given = next(filter(WIDTH, definition.parameters), None), definition.parameters
    if width and (definition.is_class or INPUT & set(given)) and any(map(CHANNELS, given)):
        return f"it takes channels and {width}"
    if not definition.is_class and given[:1] and given[0] in INPUT and (width or len(given) >= 5):
        return f"it takes {', '.join(given[:5])}"
    return ""


def _se_source(definition):
    layers = sum(call.name in LAYERS for call in definition.calls)
    gate = next((name for name in definition.names if "sigmoid" in name or name == "gate_layer"), None)
    pool = definition.calls_any(POOLS)
    if pool and gate and layers >= 2 and not any(map(OTHER_POOLS, (call.name for call in definition.calls))):
        return "a mean over the image, two layers and a sigmoid"
    return ""


def _drop_signature(definition):
    rate = next(filter(RATES, definition.parameters), None)
    return f"it takes {rate}" if rate and (definition.is_class or INPUT & set(definition.parameters)) else ""


def _drop_source(definition):
    random = definition.calls_any(RANDOM)
    return f"a number of {random} for each example" if random and definition.ones >= 3 else ""


def _gamma_name(definition):
    return called(r"relu|gelu|silu|swish|(^|_)[sc]?elu|tanh|activation|(^|_)act(_|$)|nonlinearity|softplus|sigmoid")(
        definition)


def _gamma_signature(definition):
    given = definition.inputs if definition.is_class else definition.parameters
    return "it takes one array" if len(given) == 1 or given[1:] == ("inplace",) else ""


def _gamma_source(definition):
    gamma = next((number for number in definition.numbers for known in KNOWN_GAMMA
                  if abs(number / known - 1.0) < 1e-4), None)
    if gamma is None and "gamma" in definition.names and _gamma_name(definition):
        return "it has a gamma"
    return f"it multiplies by {gamma:.7g}, the gamma of a nonlinearity" if gamma else ""


RULES = (
    Rule("ws_conv", called(r"(^|_)ws(_|$)|(^|_)std_conv|standardi[sz]|scaled_std|weight_std|(^|_)wsconv|stdconv"),
         _ws_signature, _ws_source, words_of("init", "stats", "log", "summary", "hist", "plot", "test",
                                             "quantize", "search", "scales", "class", "sample", "user")),
    Rule("norm", called(r"(batch|layer|group|instance|switchable|ghost|sync)_?norm|^(bn|gn|ln|norm)(_\d_d)?$|"
                        r"normali[sz]ation"),
         _norm_signature, _norm_source, words_of("rms", "spectral", "weight", "grad", "clip", "conv", "pre", "post",
                                                 "unitwise", "test", "local", "response", "linear", "attention",
                                                 "block", "residual", "adaptive", "conditional")),
    Rule("se", _se_name, _se_signature, _se_source,
         words_of("bottleneck", "basic", "resnet", "resnext", "net", "transformer", "inverted", "residual", "res",
                  "stage", "encoder", "decoder", "spatial", "test", "mb", "mbconv", "fire", "gather"), needs=("name",)),
    Rule("stochastic_depth", called(r"drop_?path|stoch(astic)?_?depth|drop_?connect|survival"), _drop_signature,
         _drop_source, words_of("dropout", "dropblock", "test", "mixup", "cutout", "block", "scheduler", "schedule",
                                "rates")),
    Rule("activation", _gamma_name, _gamma_signature, _gamma_source,
         words_of("test", "scheduler", "schedule", "lr", "loss", "focal", "norm", "conv"), needs=("source",)),
)

