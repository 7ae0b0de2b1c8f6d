"""Torch modules as networks, looked into by hooks on the modules that hold a block's parameters."""

import copy

import numpy as np

from ...errors import InputError
from .calling import asked


class TorchModel:
    """A torch module; what is given stays as it is, a copy is asked."""

    outputs_first = True

    def __init__(self, module, framework, options):
        self.torch, self.framework, self.options = framework.torch, framework, options
        self.module = asked("model", copy.deepcopy, module)
        self.held = dict(self.module.named_parameters())
        if not self.held:
            raise InputError(f"model: {type(module).__name__} has no parameters")
        self.shapes = {name: tuple(value.shape) for name, value in self.held.items()}
        self.places, self.channels_last = {}, None

    def attach(self, names):
        """Find the modules of blocks and head; names: their parameter's name -> ours."""
        owned = {}
        for name, our in names.items():
            part = ".".join(our.split(".")[:2]) if our.startswith("blocks.") else our.split(".")[0]
            owned.setdefault(part, []).append(name)
        for part, own in owned.items():
            place = _common_place(own)
            inside = [name for name in names if name.startswith(f"{place}.")]
            if place and len(inside) == len(own) and (part.startswith("blocks.") or part == "linear"):
                self.places[part] = place

    def ask(self, arrays, images, cotangent_of, dtype):
        """(trace, gradients) in evaluation mode; cotangent_of None: no gradients. See subjects/models.py."""
        self.load(arrays, dtype)
        self.module.eval()
        return asked("model", self._run, images, cotangent_of, dtype)

    def ask_in_training(self, arrays, images, dtype):
        """The trace in training mode, with what entered each block: "input of blocks.K"."""
        self.load(arrays, dtype)
        self.module.train()
        return asked("model", self._run, images, None, dtype, True)[0]

    def load(self, arrays, dtype):
        """Set the parameters to `arrays`, in `dtype`; those not named stay as they were made."""
        self.module.to(getattr(self.torch, dtype))
        self.held = dict(self.module.named_parameters())
        with self.torch.no_grad():
            for name, array in arrays.items():
                self.held[name].copy_(self.torch.from_numpy(array))
                self.held[name].requires_grad_()

    def _run(self, images, cotangent_of, dtype, with_inputs=False):
        seen, hooks = {}, []
        for part, place in self.places.items():
            module = self.module.get_submodule(place)
            hooks.append(module.register_forward_pre_hook(
                lambda module, given, part=part: _keep(seen, part, given, with_inputs)))
            if part != "linear":
                hooks.append(module.register_forward_hook(
                    lambda module, given, out, part=part: _keep_output(seen, part, out)))
        try:
            with self.torch.set_grad_enabled(cotangent_of is not None):
                logits = self._logits(images, dtype)
        finally:
            for hook in hooks:
                hook.remove()
        seen["logits"] = logits.detach()
        if self.torch.is_tensor(seen["logits"]):
            self.framework.seen.add(str(logits.dtype).removeprefix("torch."))
        host = {part: self.framework.host(value) for part, value in seen.items()}
        return host, None if cotangent_of is None else self._gradients(logits, cotangent_of(host["logits"]))

    def _logits(self, images, dtype):
        """The logits of images (N, H, W, C), given as NCHW, or as they are if the module takes no other."""
        order = {True: (0, 1, 2, 3), False: (0, 3, 1, 2)}
        tries = (False, True) if self.channels_last is None else (self.channels_last,)
        for channels_last in tries:
            given = np.ascontiguousarray(images.transpose(order[channels_last])).astype(dtype)
            try:
                logits = _logits_of(self.module(self.torch.from_numpy(given), **self.options))
            except Exception:
                if channels_last is tries[-1]:
                    if len(tries) > 1:  # the usual layout's complaint is the one that says something
                        given = np.ascontiguousarray(images.transpose(order[False])).astype(dtype)
                        self.module(self.torch.from_numpy(given), **self.options)
                    raise
                continue
            self.channels_last = channels_last
            return logits

    def _gradients(self, logits, cotangent):
        for value in self.held.values():
            value.grad = None
        if logits.requires_grad:
            logits.backward(self.torch.from_numpy(np.asarray(cotangent)).to(logits.dtype))
        return {name: np.zeros(tuple(value.shape)) if value.grad is None else self.framework.host(value.grad)
                for name, value in self.held.items()}


def _keep(seen, part, given, with_inputs):
    if given and hasattr(given[0], "detach"):
        before = {"blocks.0": "stem", "linear": "pooled features"}.get(part)
        if before:
            seen.setdefault(before, given[0].detach().clone())
        if with_inputs and part != "linear":
            seen.setdefault(f"input of {part}", given[0].detach().clone())


def _keep_output(seen, part, out):
    out = out[0] if isinstance(out, (tuple, list)) else out
    if hasattr(out, "detach"):
        seen.setdefault(part, out.detach().clone())


def _common_place(names):
    """The path of the innermost module that holds all these parameters."""
    paths = [name.split(".")[:-1] for name in names]
    common = paths[0]
    for path in paths[1:]:
        common = common[:next((k for k, (a, b) in enumerate(zip(common, path)) if a != b), min(len(common), len(path)))]
    return ".".join(common)


def _logits_of(out):
    """The logits in what a network returns: a tensor, the first of a tuple, or what a dict or object calls logits."""
    if isinstance(out, dict):
        return out["logits"]
    if hasattr(out, "logits"):
        return out.logits
    return out[0] if isinstance(out, (tuple, list)) else out
