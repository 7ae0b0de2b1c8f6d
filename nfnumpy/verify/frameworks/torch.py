"""PyTorch's tensors, modules and optimizers."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .base import Cotangent, Framework, Host, ModuleHandle, expect_array


class Torch(Framework):
    """PyTorch."""

    name = "torch"
    packages = ("torch",)
    channels_first = True
    has_modules = True

    def __init__(self):
        super().__init__()
        import torch
        self.torch = torch

    def array(self, host: Host, precision: str | None = None) -> Any:
        """A tensor that owns its memory."""
        tensor = self.torch.from_numpy(np.array(host))
        return tensor.to(getattr(self.torch, precision)) if precision and tensor.is_floating_point() else tensor

    def host(self, array: Any) -> Host:
        """Detached, bfloat16 as float32."""
        array = array if hasattr(array, "detach") else self.torch.from_numpy(np.array(expect_array(array)))
        tensor = array.detach()
        self.seen.add(str(tensor.dtype).removeprefix("torch."))
        return (tensor.float() if tensor.dtype == self.torch.bfloat16 else tensor).cpu().numpy()

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any],
                      cotangent: Cotangent) -> tuple[Host, list[Host | None] | None]:
        arrays = [array.detach().requires_grad_() if array.is_floating_point() else array for array in arrays]
        value = function(*arrays)
        if cotangent is None:
            return self.host(value), None
        if not getattr(value, "requires_grad", False):
            return self.host(value), [None] * len(arrays)
        cotangent = cotangent(self.host(value)) if callable(cotangent) else cotangent
        leaves = [array for array in arrays if array.requires_grad]
        given = self.array(np.broadcast_to(cotangent, tuple(value.shape))).to(value.dtype)
        of_leaves = iter(self.torch.autograd.grad(value, leaves, given, allow_unused=True))
        grads = [next(of_leaves) if array.requires_grad else None for array in arrays]
        return self.host(value), [None if grad is None else self.host(grad) for grad in grads]

    def rng(self, seed: int) -> Any:
        return self.torch.Generator().manual_seed(seed)

    def is_module(self, target: Any) -> bool:
        return isinstance(target, self.torch.nn.Module)

    def module(self, target: Any, owned: bool = False) -> "TorchModule":
        return TorchModule(self, target if owned else copy.deepcopy(target))

    def in_dtype(self, target: Any, dtype: str) -> Any:
        return copy.deepcopy(target).to(getattr(self.torch, dtype)) if self.is_module(target) else target

    def unbound_call(self, made: Any) -> Callable:
        return made.forward

    def parameter(self, value: Any, gradient: Any = None) -> Any:
        parameter = self.torch.nn.Parameter(value)
        parameter.grad = gradient
        return parameter

    def freeze(self, parameter: Any) -> None:
        """As in Framework."""
        parameter.requires_grad_(False)

    def container(self, parameters: Mapping[str, Any]) -> Any:
        module = self.torch.nn.Module()
        for path, parameter in parameters.items():
            layer, _, leaf = path.rpartition(".")
            if layer and layer not in dict(module.named_children()):
                module.add_module(layer, self.torch.nn.Module())
            module.get_submodule(layer).register_parameter(leaf, parameter)
        return module

    def sgd(self, parameters: Sequence[Any], **settings: Any) -> Any:
        return self.torch.optim.SGD(parameters, **settings)

    @property
    def sgd_class(self) -> type:
        """The class of `sgd`."""
        return self.torch.optim.SGD

    def assign(self, parameter: Any, value: Any) -> None:
        """Write a value into a parameter."""
        with self.torch.no_grad():
            parameter.copy_(value)

    def is_adaptive(self, target: Any) -> bool:
        """A class derived from one of torch's optimizers other than SGD."""
        optim = self.torch.optim
        adaptive = tuple(each for each in vars(optim).values() if isinstance(each, type)
                         and issubclass(each, optim.Optimizer) and each not in (optim.Optimizer, optim.SGD))
        return isinstance(target, type) and issubclass(target, adaptive)

    def is_recording(self) -> bool:
        """As in Framework."""
        return self.torch.is_grad_enabled()

    def recording(self) -> contextlib.AbstractContextManager[None]:
        """As in Framework."""
        return self.torch.enable_grad()

    def backward_of_products(self, terms: Sequence[tuple[Any, Any]]) -> None:
        """As in Framework."""
        sum((parameter * array).sum() for parameter, array in terms).backward()

    def softplus_loss(self, mixing: Any, offset: Any, weights: Sequence[Any]) -> Any:
        """Σ log(1 + exp(M·w - t)) + (w·w)²/4, with w all weights as one vector."""
        flat = self.torch.cat([weight.reshape(-1) for weight in weights])
        return self.torch.nn.functional.softplus(mixing @ flat - offset).sum() + 0.25 * (flat @ flat) ** 2


class TorchModule(ModuleHandle):
    """A torch module; hooks observe its submodules."""

    def __init__(self, framework: Torch, module: Any) -> None:
        self.framework = framework
        self.torch = framework.torch
        self.target = module
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self.target.named_parameters()}

    def value(self, name: str) -> Host:
        return np.array(self.framework.host(dict(self.target.named_parameters())[name]))

    @property
    def buffers(self) -> dict[str, Host]:
        return {name: value.detach().cpu().numpy().copy() for name, value in self.target.named_buffers()}

    @property
    def strides(self) -> list[int]:
        """The strides along the first axis of all submodules that have one."""
        strides = [part.stride for part in self.target.modules() if hasattr(part, "stride")]
        strides = [stride[0] if isinstance(stride, (tuple, list)) else stride for stride in strides]
        return [stride or 1 for stride in strides]

    def load(self, arrays: Mapping[str, Host], dtype: str) -> None:
        self.target.to(getattr(self.torch, dtype))
        parameters = dict(self.target.named_parameters())
        leaves = {**dict(self.target.named_buffers()), **parameters}
        with self.torch.no_grad():
            for name, array in arrays.items():
                leaves[name].copy_(self.torch.from_numpy(np.array(array)).reshape(leaves[name].shape))
                if name in parameters:
                    leaves[name].requires_grad_()

    def call(self, x: Host, training: bool | str, *, observed: Mapping[str, str] | None = None,
             with_gradients: bool = True, with_input_gradient: bool = True, **options: Any) -> Any:
        self.target.train(training is True)
        if training == "statistics":
            for part in self.target.modules():
                part.training = any(value.is_floating_point() for _, value in part.named_buffers(recurse=False))
        self.x = self.torch.from_numpy(np.array(x))
        self.inputs, self.outputs = {}, {}
        hooks = [hook for part, path in (observed or {}).items() for hook in self._hooks(part, path)]
        try:
            with self.torch.set_grad_enabled(with_gradients):
                self.x.requires_grad_(with_gradients and with_input_gradient)
                return self.target(self.x, **options)
        finally:
            for hook in hooks:
                hook.remove()

    def _hooks(self, part, path):
        def keep_input(module, given):
            if given and hasattr(given[0], "detach"):
                self.inputs.setdefault(part, self._copied(given[0]))

        def keep_output(module, given, output):
            output = output[0] if isinstance(output, (tuple, list)) else output
            if hasattr(output, "detach"):
                self.outputs.setdefault(part, self._copied(output))

        module = self.target.get_submodule(path)
        return module.register_forward_pre_hook(keep_input), module.register_forward_hook(keep_output)

    def _copied(self, tensor):
        return np.array(self.framework.host(tensor))

    def call_and_watch(self, x: Host, training: bool) -> tuple[Any, Host | None]:
        """(the output, the weight of the first convolution of torch's that was called)."""
        with watched_convolutions(self.torch) as weights:
            output = self.call(x, training)
        return output, self.framework.host(weights[0]) if weights else None

    def gradients(self, output: Any, cotangent: Host) -> tuple[Host | None, dict[str, Host | None]]:
        leaves = dict(self.target.named_parameters())
        for leaf in (self.x, *leaves.values()):
            leaf.grad = None
        if output.requires_grad:
            output.backward(self.torch.from_numpy(np.array(cotangent)).to(output.dtype))
        grads = {name: None if leaf.grad is None else self.framework.host(leaf.grad) for name, leaf in leaves.items()}
        return None if self.x.grad is None else self.framework.host(self.x.grad), grads


@contextlib.contextmanager
def watched_convolutions(torch: Any) -> Iterator[list[Any]]:
    """The weights of the convolutions of torch's that are called inside, in order."""
    from torch.utils._python_dispatch import TorchDispatchMode
    convolution, weights = torch.ops.aten.convolution.default, []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            if function is convolution:
                weights.append(arguments[1].detach().clone())
            return function(*arguments, **(options or {}))

    with Watch():
        yield weights
