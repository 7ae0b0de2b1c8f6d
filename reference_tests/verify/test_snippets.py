"""The programs of reports: each runs, needs no nfnumpy, and prints the target's result and the right one."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from nfnumpy.verify import check
from nfnumpy.verify.formulas import FORMULAS, LAYOUTS, right_form
from nfnumpy.verify.snippets import snippet
from nfnumpy.verify.snippets.code import wrapped
from nfnumpy.verify.targets import load_target

HEADS = {"keras": "from keras import layers, ops\n", "numpy": "import numpy as np\n",
         "jax": "import types, jax, jax.numpy as jnp\n",
         "torch": "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"}
WRONG = {  # (kind, framework, name): the program; what of it its report must call
    ("agc", "numpy", "clip"): ("""
def clip(grad, param, clipping=0.01, eps=1e-3):
    g, w = np.sqrt(np.sum(grad**2)), np.sqrt(np.sum(param**2))
    limit = clipping * max(w, eps)
    return grad * limit / max(g, 1e-6) if g > limit else grad
""", "clip(grad=G, param=W, clipping="),
    ("agc", "torch", "clip_"): ("""
def clip_(parameters, clip_factor=0.01, eps=1e-3):
    for p in parameters:
        limit = clip_factor * p.detach().norm().clamp(min=eps)
        if p.grad.norm() > limit:
            p.grad.mul_(limit / p.grad.norm().clamp(min=1e-6))
""", "clip_([W], clip_factor="),
    ("agc", "torch", "Clipped"): ("""
class Clipped(torch.optim.SGD):
    def __init__(self, params, lr=0.1, clipping=0.01, eps=1e-3, weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        self.clipping, self.floor = clipping, eps

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            limit = self.clipping * p.detach().norm().clamp(min=self.floor)
            if p.grad.norm() > limit:
                p.grad.mul_(limit / p.grad.norm().clamp(min=1e-6))
        return super().step(closure)
""", "Clipped(params=[W], clipping="),
    ("agc", "jax", "agc"): ("""
def agc(clipping, eps=1e-3):
    def clip(g, p):
        limit = clipping * jnp.maximum(jnp.linalg.norm(p.reshape(-1)), eps)
        size = jnp.linalg.norm(g.reshape(-1))
        return jnp.where(size > limit, g * limit / jnp.maximum(size, 1e-6), g)

    return types.SimpleNamespace(init=lambda params: (), update=lambda updates, state, params: (
        jax.tree.map(clip, updates, params), state))
""", "transformation = agc(clipping="),
    ("ws_conv", "numpy", "standardize"): ("""
def standardize(weight, gain):
    var = weight.var((0, 1, 2), ddof=1) * weight[..., 0].size
    return gain * (weight - weight.mean((0, 1, 2))) / np.sqrt(np.maximum(var, 1e-4))
""", "standardize(W, gain)"),
    ("ws_conv", "torch", "Conv"): ("""
class Conv(nn.Conv2d):
    def __init__(self, i, o, k, stride=1, groups=1):
        super().__init__(i, o, k, stride=stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(o, 1, 1, 1))

    def forward(self, x):
        k, s, n = self.kernel_size[0], self.stride[0], x.shape[2]
        p = max((-(-n // s) - 1) * s + k - n, 0)
        var, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, unbiased=False)
        weight = self.gain * (self.weight - mean) / (var * self.weight.numel()).clamp(min=1e-4).sqrt()
        return self._conv_forward(F.pad(x, (p // 2, p - p // 2) * 2), weight, self.bias)
""", "stride=1, groups=1).to(torch."),
    ("se", "torch", "Excite"): ("""
class Excite(nn.Module):
    def __init__(self, channels, ratio=0.5):
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.down, self.up = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))[:, :, None, None]
""", "module.down.weight.copy_(W0)"),
    ("se", "keras", "Gate"): ("""
class Gate(layers.Layer):
    def __init__(self, channels, ratio=0.5, **options):
        super().__init__(**options)
        self.down = layers.Dense(max(1, int(channels * ratio)), activation="relu")
        self.up = layers.Dense(channels, activation="sigmoid")

    def call(self, x):
        return x * self.up(self.down(ops.mean(x, (1, 2))))[:, None, None]
""", "layer = Gate(channels="),
    ("ws_conv", "keras", "Added"): ("""
class Added(layers.Conv2D):
    def build(self, shape):
        super().build(shape)
        self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer="ones")

    def call(self, x):
        kernel = self.kernel - ops.mean(self.kernel, (0, 1, 2))
        norm = ops.sqrt(ops.maximum(ops.sum(ops.square(kernel), (0, 1, 2)), 1e-4))
        return ops.conv(x, kernel * (self.gain + 1) / norm, self.strides, "same", "channels_last") + self.bias
""", "layer = Added(filters="),
    ("norm", "torch", "Norm"): ("""
class Norm(nn.Module):
    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x):
        var, mean = torch.var_mean(x, (1, 2, 3), keepdim=True)
        return (x - mean) / (var + self.eps).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]
""", "Norm(channels="),
    ("activation", "torch", "act"): ("def act(x):\n    return F.silu(x) * 1.5\n", "yours = act(x)"),
    ("schedule", "numpy", "rate"): ("""
def rate(step, peak, warmup_steps, total_steps):
    return peak * step / warmup_steps if step < warmup_steps else peak
""", "rate(step=step, peak="),
    ("ema", "numpy", "blend"): ("""
def blend(average, value, decay):
    return (1 - decay) * average + decay * value
""", "blend(average=yours, value=weight, decay=min("),
    ("sam", "torch", "Ascent"): ("""
class Ascent(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **options):
        super().__init__(params, dict(rho=rho, **options))
        self.base = base_optimizer(self.param_groups, **options)

    @torch.no_grad()
    def first_step(self):
        for p in self.param_groups[0]["params"]:
            self.state[p]["e"] = p.grad * self.param_groups[0]["rho"] / (p.grad.norm() + 1e-12)
            p.add_(self.state[p]["e"])

    @torch.no_grad()
    def second_step(self):
        for p in self.param_groups[0]["params"]:
            p.sub_(self.state[p]["e"])
        self.base.step()
""", "optimizer.first_step()"),
}


def host(array):
    """An array of any framework."""
    array = array.detach() if hasattr(array, "detach") else array
    return np.asarray(array, dtype=np.float64)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """(kind, framework, name) -> (the verdict, the program, the folder of its target)."""
    folder, found = tmp_path_factory.mktemp("wrong"), {}
    for kind, framework, name in WRONG:
        file = folder / f"port_{name.lower()}.py"
        file.write_text(HEADS[framework] + WRONG[kind, framework, name][0])
        target = load_target(f"{file}:{name}")
        verdict = check(kind, target, name=f"{file}:{name}", examples=0)
        found[kind, framework, name] = verdict, snippet(target, verdict, {}), folder
    return found


@pytest.mark.parametrize("case", WRONG, ids=" ".join)
def test_a_program_calls_the_target_as_it_is_called_and_shows_the_difference(programs, case, monkeypatch, capsys):
    verdict, program, folder = programs[case]
    name = case[2]
    assert not verdict.passed and "nfnumpy" not in program and WRONG[case][1] in program
    assert f"from port_{name.lower()} import {name}\n" in program
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    names = {}
    exec(compile(program, "program", "exec"), names)
    out = capsys.readouterr().out
    assert out.startswith("yours: ") and "\nright: " in out
    yours, right = (host(names[which]) for which in ("yours", "right"))
    assert yours.shape == right.shape and not np.allclose(yours, right, rtol=1e-9, atol=0)
    assert len(program.splitlines()) <= 45 and max(map(len, program.splitlines())) <= 120


def test_a_program_is_one_that_python_runs_alone(programs, tmp_path):
    _, program, folder = programs["agc", "numpy", "clip"]
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], cwd=folder, capture_output=True, text=True,
                          env={"PYTHONPATH": str(folder)})
    assert done.returncode == 0 and done.stdout.count("\n") >= 2, done.stderr


def test_the_right_result_is_the_formulas(programs):
    """Of the clipping, by hand: all norms over a whole unit, the last axis kept."""
    verdict, program, _ = programs["agc", "numpy", "clip"]
    names = {"__name__": "x"}
    sys.modules["port_clip"] = type(sys)("port_clip")
    sys.modules["port_clip"].clip = lambda grad, param, clipping, eps: names.update(c=clipping, e=eps) or grad
    try:
        exec(program, names)
    finally:
        del sys.modules["port_clip"]
    axes = tuple(range(names["W"].ndim - 1))
    g, w = (np.sqrt(np.sum(names[which] ** 2, axis=axes, keepdims=True)) for which in "GW")
    limit = names["c"] * np.maximum(w, names["e"])
    expected = np.where(g > limit, names["G"] * limit / np.maximum(g, 1e-6), names["G"])
    np.testing.assert_allclose(names["right"], expected, rtol=1e-5)  # written with the digits of float32
    assert "axes (0, 1, 2) of (kh, kw, in, out)" in verdict.formula


def test_where_no_form_reproduces_the_difference_the_check_is_run_again(tmp_path):
    """The target is another one at every call."""
    (tmp_path / "odd.py").write_text("calls = []\ndef rate(step, peak, warmup_steps, total_steps):\n"
                                     "    calls.append(1)\n    return len(calls) ** 3 % 1009\n")
    target = load_target(f"{tmp_path}/odd.py:rate")
    verdict = check("schedule", target, name=f"{tmp_path}/odd.py:rate", examples=0)
    program = snippet(target, verdict, {"peak": 0.5})
    assert "from odd import rate" in program and "print(nf.verify.check_schedule(rate, peak=0.5))" in program
    compile(program, "program", "exec")


def test_what_conforms_or_has_no_file_has_no_program():
    right = check("schedule", lambda step, peak, warmup_steps, total_steps: 0.0, examples=0)
    assert snippet(lambda step: 0.0, right, {}) is None


def test_a_long_line_is_broken_at_commas_and_stays_the_same_expression():
    numbers = list(range(200))
    lines = list(wrapped(f"values = list({numbers})"))
    names = {}
    exec("\n".join(lines), names)
    assert names["values"] == numbers and len(lines) > 1 and max(map(len, lines)) <= 111
    assert list(wrapped("x" * 200)) == ["x" * 200]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tensor", ["clipped gradient of conv weight", "clipped gradient of linear weight", "output",
                                    "clipped gradient of stored gain", "clipped gradient of final bias", None,
                                    "clipped gradient of pointwise weight", "gradient of x", "running mean"])
def test_every_kind_has_a_formula_for_every_tensor(layout, tensor):
    for kind in (*FORMULAS, "agc"):
        assert "{" not in right_form(kind, tensor, layout)
    assert right_form("model", tensor, layout) is None


@pytest.mark.parametrize("tensor, layout, unit", [
    ("conv weight", "OIHW", "axes (1, 2, 3)"), ("depthwise weight", "HWIO", "axes (0, 1, 2)"),
    ("pointwise weight", "HWIO", "axes (0, 1, 2)"), ("linear weight", "OIHW", "axis 1"),
    ("hidden weight", "HWIO", "axis 0"), ("bias", "OIHW", "whole tensor"),
    ("stored gain", "HWIO", "whole tensor"), ("conv bias", "HWIO", "whole tensor"), ("scalar", "OIHW", "whole tensor")])
def test_the_unit_of_a_clipped_tensor_is_named(tensor, layout, unit):
    assert unit in right_form("agc", f"clipped gradient of {tensor}", layout)
