"""The right form of what a check compares, as a formula, by the tensor that first differs."""

LAYOUTS = {"OIHW": {"fan-in": "axes (1, 2, 3) of (out, in, kh, kw)", "columns": "axis 1 of (out, in)"},
           "HWIO": {"fan-in": "axes (0, 1, 2) of (kh, kw, in, out)", "columns": "axis 0 of (in, out)"}}
CLIPPED = ("G ← G · lambda·max(‖W‖, eps)/max(‖G‖, 1e-6) where ‖G‖ > lambda·max(‖W‖, eps), else G as it is; "
           "lambda is the clipping factor, and ‖·‖ the root of the sum of squares over {unit}")
OF_CHANNELS, OF_OUTPUTS = "{fan-in}, one norm for each output channel", "{columns}, one norm for each output"
UNITS = {"conv": OF_CHANNELS, "depthwise": OF_CHANNELS, "pointwise": OF_CHANNELS, "linear": OF_OUTPUTS,
         "hidden": OF_OUTPUTS,
         "": "the whole tensor: a bias, a gain or a scalar is one unit"}
STANDARDIZED = ("W_hat = gain · (W - mean)/√max(N·var, 1e-4), with mean and var = mean((W - mean)²) over {fan-in} and "
                "N the number of weights there")

FORMULAS: dict[str, dict[str, str]] = {
    "ws_conv": {"standardized weight": STANDARDIZED,
                "gradient of": STANDARDIZED + "; gradients go through mean and var",
                "": STANDARDIZED + "; out = conv(x, W_hat, padding as TensorFlow's SAME) + bias"},
    "se": {"": "out = x · 2·sigmoid(W1·relu(W0·mean(x) + b0) + b1), with the mean over height and width, and the "
               "hidden width int(channels·ratio), at least 1; the factor 2 belongs to normalizer-free networks"},
    "sam": {"weights after the ascent": "w + rho·g/‖g‖, with one norm over the gradients of all parameters",
            "": "w_hat = w + rho·g(w)/‖g(w)‖; then the optimizer's step from w, with the gradient at w_hat"},
    "ema": {"": "average ← d·average + (1 - d)·w, with d = min(decay, (1 + t)/(10 + t)), t = 0, 1, … updates before"},
    "schedule": {"rate during warm-up": "rate(t) = peak·t/warmup_steps for t < warmup_steps",
                 "": "rate(t) = peak/2·(1 + cos(π·(t - warmup_steps)/(total_steps - warmup_steps))) for t ≥ "
                     "warmup_steps"},
    "activation": {"": "y = gamma·g(x), with gamma² = 1/Var[g(z)] for z ~ N(0, 1)"},
    "stochastic_depth": {"": "training: out = x·mask, with one mask per example that is 1 with probability 1 - rate "
                             "and else 0, not divided by 1 - rate; evaluation: out = x"},
    "block": {"": "out = shortcut + alpha·skip_gain·branch(a), with a = activation(x)·beta, and the shortcut x itself, "
                  "or conv(average_pool(a)) where the shape changes"},
    "norm": {"running": "running ← (1 - momentum)·running + momentum·statistic of the batch (PyTorch's convention)",
             "output in evaluation": "out = (x - running_mean)/√(running_variance + eps)·gamma + beta",
             "": "out = (x - mean)/√(var + eps)·gamma + beta, with var = mean((x - mean)²), over n and not n - 1"},
}


def right_form(kind: str, tensor: str | None, layout: str) -> str | None:
    """The formula for the `tensor` of a check that first differs; None where a check has none.

    layout: OIHW or HWIO, in which a convolution's axes are named.
    """
    if kind == "agc":
        return CLIPPED.format(unit=_unit(tensor or "").format(**LAYOUTS[layout]))
    known = FORMULAS.get(kind)
    if known is None:
        return None
    formula = next(formula for start, formula in known.items() if (tensor or "").startswith(start))
    return formula.format(**LAYOUTS[layout])


def _unit(tensor):
    """What a norm runs over, of "clipped gradient of conv weight"; biases, gains and scalars are whole tensors."""
    name = tensor.removeprefix("clipped gradient of ")
    is_weight = "weight" in name and not name.startswith("final")
    return next(unit for start, unit in UNITS.items() if name.startswith(start) and (is_weight or not start))
