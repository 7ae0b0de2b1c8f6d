"""Adaptive gradient clipping, sharpness-aware minimization, averages of weights, learning-rate schedules."""

import math
import re

from . import Rule, called, first_in, like, words_of

GRADIENT = like(r"^(?!.*(requires_|no_|zero_|enable_|set_)grad)(grad|.*_grads?$|.*grad|gs?$|d[pw]$|g_|updates?$)")
PARAMETER = like(r"^(p|w|params?|parameters?|weights?|variables?|vars?|theta)$|^[pw]_|param(?!eters_)|weight(?!_decay)")
NORMS = like(r"(^|_)norm(_|$)|norms?$|^unit_?wise|^(?!.*batch)l2|vector_norm|^frobenius")
NOT_NORMS = like(r"batch|layer|group|instance|normal|clip")
CLIP = like(r"clip|^lam(b|bda_?)?$|lmbda|^factor$|agc|threshold|max_ratio")
LISTS = ("parameters", "params", "model", "named_parameters", "model_params", "parameters_list", "weights",
         "trainable_variables", "variables")
LIMITS = ("where", "minimum", "maximum", "clamp", "clamp_", "clip", "min", "max", "clip_by_value", "cond", "select",
          "copy_", "clamp_min", "clamp_max")
CLIPPER = re.compile(r"(^|_)agc|adaptive_?(grad(ient)?_?)?clip|clip_?unit_?wise|unit_?wise_?clip")
STEPS = frozenset(("step", "train_step", "apply_gradients", "on_before_optimizer_step", "apply"))
WRAPPED = ("optimizer", "optim", "base_optimizer", "opt", "inner", "inner_optimizer")
DECAY = like(r"^(ema_|max_)?decay(_rate)?$|^d$|^beta$|^alpha$|^momentum$|^mu$|^tau$|ema_rate|^smoothing$")
AVERAGED = like(r"^(model|module|net|network|parameters|params|ema\w*|avg\w*|average\w*|shadow|target|old|student|"
                r"optimizer|state|variables|tree)$")
PERIOD = like(r"warm|total|t_max|t_initial|decay_steps|max_(steps|iters|epochs)|num_(training_)?steps|epochs$|n_?steps")
STEP = like(r"^(step|t|count|epoch|it|iteration|current_step|global_step|optimizer|progress)$")
RATE = like(r"(^|_)lr(_|$)|learning_rate|peak|base_value|init_value")


def _norm_of(definition, wanted, unwanted=None):
    """Whether a norm is taken of something called so."""
    for call in definition.calls:
        if (NORMS(call.name) and not NOT_NORMS(call.name)) or call.name in {"sqrt", *definition.measures}:
            fitting = [name for name in call.of if wanted(name) and not NORMS(name)]
            if fitting and not (unwanted and any(map(unwanted, call.of))):
                return True
    return False


def _compares_norms(definition):
    names = definition.names
    of_gradient = _norm_of(definition, GRADIENT) or any(GRADIENT(name) and NORMS(name) for name in names)
    of_parameter = _norm_of(definition, PARAMETER, GRADIENT) or any(PARAMETER(name) and NORMS(name) for name in names)
    return of_gradient and of_parameter and definition.calls_any(LIMITS)


def _agc_signature(definition):
    given = definition.parameters
    factor = next(filter(CLIP, given), None)
    target = first_in(given, (*LISTS, *WRAPPED))
    if target and factor:
        return f"it takes {target} and {factor}"
    gradient = next(filter(GRADIENT, given), None)
    parameter = next((name for name in given if PARAMETER(name) and not GRADIENT(name)), None)
    if gradient and parameter and not definition.is_class:
        return f"it takes {gradient} and {parameter}"
    if factor and ("gradienttransformation" in definition.names or {"init_fn", "update_fn"} <= definition.names):
        return f"a transformation of {factor}"
    if definition.is_class and factor:
        base = next((base for base in definition.bases if base.lower() in ("optimizer", "sgd", "adam", "callback",
                                                                           "gradienttransformation")), None)
        return f"its base is {base}, and it takes {factor}" if base else ""
    return ""


def _agc_source(definition):
    if _compares_norms(definition):
        return "it compares a gradient's norm with a parameter's norm"
    helper = next((call.name for call in definition.calls if CLIPPER.search(call.name)), None)
    return f"it calls {helper} in its step" if helper and STEPS & definition.methods else ""


def _sam_signature(definition):
    if "first_step" in definition.methods and "second_step" in definition.methods:
        return "it has first_step and second_step"
    rho = first_in(definition.parameters, ("rho", "sam_rho", "radius", "adv_optimizer", "adversary"))
    target = first_in(definition.parameters, (*WRAPPED, *LISTS))
    return f"it takes {target} and {rho}" if rho and target else ""


def _sam_source(definition):
    ascent = _norm_of(definition, GRADIENT) or definition.calls_any(("global_norm", "_grad_norm", "grad_norm",
                                                                     "normalize"))
    if ascent and ({"rho", "sam_rho"} & definition.names or {"e_w", "old_p", "perturb", "ascent_step"} &
                   definition.names):
        return "it steps along the gradient over its norm"
    return ""


def _ema_signature(definition):
    decay, given = next(filter(DECAY, definition.parameters), None), definition.parameters
    averaged = next(filter(AVERAGED, given), None)
    base = first_in(definition.bases, ("AveragedModel", "WeightAveraging"))
    if base:
        return f"its base is {base}"
    if any(name in definition.parameters for name in ("lr", "grads", "loss", "criterion")):
        return ""
    return f"it takes {averaged} and {decay}" if decay and averaged else ""


def _ema_source(definition):
    if definition.calls_any(("lerp", "lerp_", "_foreach_lerp_", "incremental_update")):
        return "it interpolates between an average and a value"
    rate = next(filter(DECAY, definition.complements), None)
    return f"{rate} times the average, and 1 - {rate} times the value" if rate else ""


def _schedule_signature(definition):
    given, found = definition.parameters, []
    for question in (PERIOD, STEP, RATE):
        found += [name for name in given if question(name)][:1]
    base = next((base for base in definition.bases if "schedule" in base.lower() or base == "LambdaLR"), None)
    if base:
        return f"its base is {base}"
    return f"it takes {' and '.join(found)}" if len(set(found)) >= 2 or any(map(STEP, given)) else ""


def _schedule_source(definition):
    helper = next((call.name for call in definition.calls if "cosine" in call.name and "similarity" not in call.name
                   and "loss" not in call.name), None)
    if helper:
        return f"it calls {helper}"
    return "it has the cosine of π·progress" if definition.calls_any(("cos",)) and (
        "pi" in definition.names or any(abs(number - math.pi) < 2e-3 for number in definition.numbers)) else ""


RULES = (
    Rule("agc", called(r"(^|_)agc(_|$)|^agc|adaptive(_grad(ient)?)?_?clip|unit_?wise_clip|clip_unit_?wise"),
         _agc_signature, _agc_source, words_of("lars", "lamb", "larc", "lans", "trust", "test", "novograd", "adafactor",
                                               "madgrad", "muon")),
    Rule("sam", called(r"(^|_)(a|g|s|f|e|w)?sam(_|$)|sharpness"), _sam_signature, _sam_source, words_of("test")),
    Rule("ema", called(r"(^|_)ema(_|$)|^ema|ema$|moving_?average|averaged?_(model|weights|params)|model_average"),
         _ema_signature, _ema_source,
         words_of("quantize", "quantizer", "vq", "codebook", "meter", "loss", "attention", "bn", "norm", "test",
                  "batch", "optimizer", "load", "loader", "config", "scheduler", "mixup", "target",
                  "entropy", "crossentropy", "focal")),
    Rule("schedule", called(r"(^|_)lr(_|$)|lr$|learning_rate|schedul|cosine|warm_?up|anneal|decay"),
         _schedule_signature, _schedule_source,
         words_of("beta", "betas", "diffusion", "noise", "test", "timestep", "timesteps", "sigma", "sigmas",
                  "similarity", "trainer", "callback", "alpha", "embedding", "momentum", "position",
                  "positional", "encoding", "rotary", "window"), needs=("source",)),
)
