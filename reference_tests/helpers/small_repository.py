"""A small made-up repository in four frameworks: what can be checked in it, and what only looks like it.

FILES: {path: source}; KINDS: {(path, name): the kind of check}. Every other definition is none of them.
"""

TORCH_LAYERS = '''
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class WSConv2d(nn.Conv2d):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, 1, groups)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def forward(self, x):
        w = self.weight
        mean = w.mean(dim=(1, 2, 3), keepdim=True)
        var = w.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
        w = (w - mean) / torch.sqrt(var * w[0].numel() + 1e-4) * self.gain
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Base(nn.Conv2d):
    pass


class Conv(Base):
    """Called like any other, of a base in this file, and with its statistics in a method."""

    def centred(self):
        kernel = self.weight.flatten(1)
        std, mean = torch.std_mean(kernel, dim=1, keepdim=True)
        return ((kernel - mean) / (std + 1e-5)).view_as(self.weight)

    def forward(self, x):
        return self._conv_forward(x, self.centred(), self.bias)


class ConvBNAct(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class EqualizedConv2d(nn.Conv2d):
    def forward(self, x):
        scale = math.sqrt(2.0 / self.weight[0].numel())
        return F.conv2d(x, self.weight * scale, self.bias)


class SpectralConv2d(nn.Conv2d):
    def forward(self, x):
        sigma = torch.linalg.matrix_norm(self.weight.flatten(1), ord=2)
        return F.conv2d(x, self.weight / sigma, self.bias)


class SEBlock(nn.Module):
    def __init__(self, channels, reduction=16):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        s = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3))))))
        return x * s[:, :, None, None]


class ChannelAttention(nn.Module):
    """CBAM's: it also has a maximum."""

    def __init__(self, in_planes, ratio=16):
        super().__init__()
        self.avg, self.max = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.f = nn.Sequential(nn.Conv2d(in_planes, in_planes // ratio, 1), nn.ReLU(),
                               nn.Conv2d(in_planes // ratio, in_planes, 1))

    def forward(self, x):
        return x * torch.sigmoid(self.f(self.avg(x)) + self.f(self.max(x)))


class SpatialAttention(nn.Module):
    def __init__(self, kernel_size=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size)

    def forward(self, x):
        return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, True), x.amax(1, True)], 1)))


class SEBottleneck(nn.Module):
    def __init__(self, inplanes, planes, reduction=16):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1)
        self.conv2 = nn.Conv2d(planes, planes, 3)
        self.se = SEBlock(planes, reduction)

    def forward(self, x):
        return x + self.se(self.conv2(self.conv1(x))) * torch.sigmoid(x.mean())


class DropPath(nn.Module):
    def __init__(self, drop_prob=0.1):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not self.training:
            return x
        keep = 1 - self.drop_prob
        return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep) / keep


class Dropout(nn.Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * torch.bernoulli(torch.full_like(x, 1 - self.p)) / (1 - self.p)


class ScaledGELU(nn.Module):
    def forward(self, x):
        return F.gelu(x) * 1.7015043497085571


NONLINEARITIES = {
    "silu": lambda x: F.silu(x) * 1.7881293296813965,
    "plain": lambda x: F.silu(x),
    "other": F.gelu,
}


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class PreNorm(nn.Module):
    def __init__(self, dim, fn, eps=1e-5):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim, eps), fn

    def forward(self, x):
        return self.fn(self.norm(x))


class NFBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, alpha=0.2, beta=1.0):
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.conv = WSConv2d(in_channels, out_channels, 3, stride)
        self.skip_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        out = F.relu(x) * self.beta
        return x + self.conv(out) * self.alpha * self.skip_gain


class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inplanes, planes, 3, stride), nn.BatchNorm2d(planes)

    def forward(self, x):
        return F.relu(x + self.bn1(self.conv1(x)))


class NFNet(nn.Module):
    def __init__(self, num_classes=1000, alpha=0.2):
        super().__init__()
        self.stem = WSConv2d(3, 16, 3)
        self.blocks = nn.Sequential(NFBlock(16, 16))
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def init_weights(module, gain=1.0):
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0, gain / math.sqrt(module.weight[0].numel()))
'''

TORCH_TRAINING = '''
import copy
import math

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def unitwise_norm(x):
    return x.norm(2.0, dim=tuple(range(1, x.ndim)), keepdim=True) if x.ndim > 1 else x.norm(2.0)


@torch.no_grad()
def adaptive_clip_grad(parameters, clip_factor=0.01, eps=1e-3):
    for p in parameters:
        max_norm = unitwise_norm(p.detach()).clamp_(min=eps).mul_(clip_factor)
        grad_norm = unitwise_norm(p.grad)
        clipped = p.grad * (max_norm / grad_norm.clamp(min=1e-6))
        p.grad.copy_(torch.where(grad_norm < max_norm, p.grad, clipped))


def clip_grad_norm_(parameters, max_norm, norm_type=2.0):
    total = torch.stack([p.grad.norm(norm_type) for p in parameters]).norm(norm_type)
    scale = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for p in parameters:
        p.grad.mul_(scale)


def clip_grad_value_(parameters, clip_value):
    for p in parameters:
        p.grad.clamp_(-clip_value, clip_value)


class Limiter(Optimizer):
    """Nothing in its name says what it is."""

    def __init__(self, params, optimizer, clipping=1e-2, eps=1e-3):
        self.optimizer, self.clipping, self.eps = optimizer, clipping, eps
        super().__init__(params, {})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                limit = self.clipping * torch.maximum(torch.norm(p), torch.tensor(self.eps))
                size = torch.norm(p.grad)
                if size > limit:
                    p.grad.mul_(limit / size)
        return self.optimizer.step(closure)


class LARS(Optimizer):
    def __init__(self, params, lr, trust_coefficient=1e-3, clip=True):
        super().__init__(params, dict(lr=lr))

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                weight_norm, grad_norm = p.norm(2), p.grad.norm(2)
                trust = torch.where(grad_norm > 0, 1e-3 * weight_norm / grad_norm, torch.ones(()))
                p.data.add_(p.grad * trust.clamp(max=1), alpha=-group["lr"])


class SAM(Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        scale = self.param_groups[0]["rho"] / (self._grad_norm() + 1e-12)
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad * scale)

    def second_step(self, zero_grad=False):
        self.base_optimizer.step()

    def _grad_norm(self):
        return torch.norm(torch.stack([p.grad.norm(2) for g in self.param_groups for p in g["params"]]))


class Adadelta(Optimizer):
    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6):
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps))

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                square = self.state[p]["square"]
                square.mul_(group["rho"]).addcmul_(p.grad, p.grad, value=1 - group["rho"])
                p.data.add_(p.grad / square.add(group["eps"]).sqrt(), alpha=-group["lr"])


class ModelEMA:
    def __init__(self, model, decay=0.9999):
        self.module, self.decay = copy.deepcopy(model).eval(), decay

    def update(self, model):
        for average, value in zip(self.module.parameters(), model.parameters()):
            average.data.mul_(self.decay).add_(value.data, alpha=1 - self.decay)


class AverageMeter:
    def __init__(self, momentum=0.9):
        self.momentum, self.value = momentum, 0.0

    def update(self, value):
        self.value = self.momentum * self.value + (1 - self.momentum) * value


class WarmupCosine(LRScheduler):
    def __init__(self, optimizer, warmup_steps, total_steps):
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        super().__init__(optimizer)

    def get_lr(self):
        progress = (self.last_epoch - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return [base * 0.5 * (1 + math.cos(math.pi * progress)) for base in self.base_lrs]


class StepDecay(LRScheduler):
    def get_lr(self):
        return [base * 0.1 ** (self.last_epoch // 30) for base in self.base_lrs]


def cosine_beta_schedule(timesteps, s=0.008):
    x = torch.linspace(0, timesteps, timesteps + 1)
    alphas = torch.cos((x / timesteps + s) / (1 + s) * math.pi * 0.5) ** 2
    return 1 - alphas[1:] / alphas[:-1]


def build(kind):
    def adaptive_clip(grad, param, clipping=0.01):
        limit = clipping * param.norm()
        return torch.where(grad.norm() > limit, grad * limit / grad.norm(), grad)
    return adaptive_clip if kind == "agc" else None


class Sam(torch.nn.Module):
    """The one that segments anything."""

    def __init__(self, image_encoder, mask_decoder):
        super().__init__()
        self.image_encoder, self.mask_decoder = image_encoder, mask_decoder

    def forward(self, x):
        return self.mask_decoder(self.image_encoder(x))
'''

JAX = '''
import haiku as hk
import jax
import jax.numpy as jnp
import optax


def standardize(weight, gain, eps=1e-4):
    mean = jnp.mean(weight, axis=(0, 1, 2), keepdims=True)
    var = jnp.var(weight, axis=(0, 1, 2), keepdims=True)
    return gain * (weight - mean) * jax.lax.rsqrt(jnp.maximum(var * weight[..., 0].size, eps))


class StdConv2D(hk.Conv2D):
    def __call__(self, inputs):
        w = hk.get_parameter("w", self.kernel_shape)
        w = (w - jnp.mean(w, (0, 1, 2))) / jnp.std(w, (0, 1, 2))
        return jax.lax.conv_general_dilated(inputs, w, (1, 1), "SAME")


def agc(clipping, eps=1e-3):
    def norm(x):
        return jnp.sqrt(jnp.sum(x * x, keepdims=True))

    def update_fn(updates, state, params):
        def clip(g, p):
            limit = clipping * jnp.maximum(norm(p), eps)
            return jnp.where(norm(g) > limit, g * limit / norm(g), g)
        return jax.tree.map(clip, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def clip_by_global_norm(max_norm):
    def update_fn(updates, state, params=None):
        scale = jnp.minimum(1.0, max_norm / optax.global_norm(updates))
        return jax.tree.map(lambda g: g * scale, updates), state
    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def ema_update(average, value, decay):
    return jax.tree.map(lambda a, v: decay * a + (1.0 - decay) * v, average, value)


def warmup_cosine(step, peak_lr, warmup_steps, total_steps):
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return jnp.where(step < warmup_steps, peak_lr * step / warmup_steps,
                     0.5 * peak_lr * (1 + jnp.cos(jnp.pi * progress)))


def positional_encoding(step, dim):
    return jnp.cos(step * jnp.pi / dim)


def layer_norm(x, gamma, beta, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + eps) * gamma + beta


def drop_path(x, rate, key):
    mask = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1, 1))
    return x * mask / (1 - rate)


def mixup(x, y, alpha, key):
    rate = jax.random.beta(key, alpha, alpha, (x.shape[0], 1, 1, 1))
    return rate * x + (1 - rate) * x[::-1], y
'''

KERAS = '''
import tensorflow as tf
from tensorflow.keras import layers


class ScaledStandardizedConv2D(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        mean, var = tf.nn.moments(kernel, axes=[0, 1, 2], keepdims=True)
        scale = tf.math.rsqrt(tf.maximum(var * 9.0, 1e-4))
        return super().convolution_op(inputs, (kernel - mean) * scale * self.gain)


class SqueezeExcite(layers.Layer):
    def __init__(self, in_channels, se_ratio=0.5):
        super().__init__()
        self.fc0 = layers.Dense(int(in_channels * se_ratio), activation="relu")
        self.fc1 = layers.Dense(in_channels, activation="sigmoid")

    def call(self, inputs):
        return 2.0 * self.fc1(self.fc0(tf.reduce_mean(inputs, [1, 2])))[:, None, None] * inputs


def adaptive_clip_grad(parameters, gradients, clip_factor=0.01, eps=1e-3):
    new = []
    for params, grads in zip(parameters, gradients):
        p_norm, g_norm = tf.norm(params), tf.norm(grads)
        limit = tf.maximum(p_norm, eps) * clip_factor
        new.append(tf.where(g_norm < limit, grads, grads * limit / tf.maximum(g_norm, 1e-6)))
    return new


class WarmUpCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, learning_rate_base, total_steps, warmup_steps):
        self.base, self.total, self.warm = learning_rate_base, total_steps, warmup_steps

    def __call__(self, step):
        rate = 0.5 * self.base * (1 + tf.cos(3.14159 * (step - self.warm) / (self.total - self.warm)))
        return tf.where(step < self.warm, self.base * step / self.warm, rate)


class Augment(layers.Layer):
    def call(self, images):
        return tf.image.per_image_standardization(images)


class AGCModel(tf.keras.Model):
    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.loss(self(data[0]), data[1])
        grads = adaptive_clip_grad(self.trainable_variables, tape.gradient(loss, self.trainable_variables))
        self.optimizer.apply_gradients(zip(grads, self.trainable_variables))
        return {}
'''

NUMPY = '''
import numpy as np


class Ops:
    @staticmethod
    def weight_standardize(weight):
        return (weight - weight.mean((0, 1, 2))) / weight.std((0, 1, 2))


def agc_clip(grad, param, clipping=0.01, eps=1e-3):
    g, w = np.linalg.norm(grad), max(np.linalg.norm(param), eps)
    return np.where(g > clipping * w, grad * clipping * w / g, grad)


def normalize_images(images, mean, std):
    return (images - mean) / std


def cosine_similarity(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def weight_stats(weight):
    return weight.mean() / weight.std()


def scaled_relu(x):
    return 1.7139588594436646 * np.maximum(x, 0.0)
'''

FILES = {"port/layers.py": TORCH_LAYERS, "port/training.py": TORCH_TRAINING, "port/in_jax.py": JAX,
         "port/in_keras.py": KERAS, "port/arrays.py": NUMPY}

KINDS = {
    **{("port/layers.py", name): kind for name, kind in {
        "WSConv2d": "ws_conv", "Conv": "ws_conv", "SEBlock": "se", "DropPath": "stochastic_depth",
        "ScaledGELU": "activation", "NONLINEARITIES['silu']": "activation",
        "LayerNorm2d": "norm", "NFBlock": "block", "NFNet": "model"}.items()},
    **{("port/training.py", name): kind for name, kind in {
        "adaptive_clip_grad": "agc", "Limiter": "agc", "SAM": "sam", "ModelEMA": "ema", "WarmupCosine": "schedule",
        "build.adaptive_clip": "agc"}.items()},
    **{("port/in_jax.py", name): kind for name, kind in {
        "standardize": "ws_conv", "StdConv2D": "ws_conv", "agc": "agc", "ema_update": "ema",
        "warmup_cosine": "schedule", "layer_norm": "norm", "drop_path": "stochastic_depth"}.items()},
    **{("port/in_keras.py", name): kind for name, kind in {
        "ScaledStandardizedConv2D": "ws_conv", "SqueezeExcite": "se", "adaptive_clip_grad": "agc",
        "WarmUpCosine": "schedule", "AGCModel": "agc"}.items()},
    **{("port/arrays.py", name): kind for name, kind in {
        "Ops.weight_standardize": "ws_conv", "agc_clip": "agc", "scaled_relu": "activation"}.items()},
}


def write_repository(folder):
    """Write FILES under `folder`, as one package; returns it."""
    for path, text in FILES.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (folder / "port" / "__init__.py").write_text("")
    return folder
