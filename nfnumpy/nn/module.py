"""What all modules share: parameters found by walking attributes, and their state as a dict of arrays."""

from .. import backend as backends
from ..autograd import Tensor
from ..errors import InputError


class Module:
    """A part of a network. Its parameters are the Tensors and those of the Modules among its attributes.

    Attributes may also be lists, tuples and dicts of them.
    """

    def parameters(self, prefix=""):
        """A dict name -> Tensor; names are attribute paths such as "blocks.3.conv1b.gain", in order of making."""
        found = {}
        for attribute, value in vars(self).items():
            children = enumerate(value) if isinstance(value, (list, tuple)) else \
                value.items() if isinstance(value, dict) else [(None, value)]
            for position, child in children:
                name = f"{prefix}{attribute}" + ("" if position is None else f".{position}")
                if isinstance(child, Tensor):
                    found[name] = child
                elif isinstance(child, Module):
                    found.update(child.parameters(f"{name}."))
        return found

    def state_dict(self):
        """A dict name -> array: the parameters' own arrays, not copies."""
        return {name: parameter.data for name, parameter in self.parameters().items()}

    def load_state_dict(self, state):
        """Take over the values of `state` (name -> array of either backend), cast to the parameters' dtype.

        InputError, and nothing taken over, when a name is unknown or missing or a shape differs.
        """
        parameters = self.parameters()
        for problem, names in (("unknown", sorted(set(state) - set(parameters))),
                               ("missing", sorted(set(parameters) - set(state)))):
            if names:
                raise InputError(f"state: {len(names)} {problem} of {len(parameters)} names, such as {names[0]!r}; "
                                 f"expected names such as {next(iter(parameters))!r}")
        state = {name: backends.to_host(array) for name, array in state.items()}
        for name, parameter in parameters.items():
            if tuple(state[name].shape) != tuple(parameter.shape):
                raise InputError(f"state: {name} has shape {tuple(state[name].shape)}, expected "
                                 f"{tuple(parameter.shape)}")
        taken = {}
        for name, parameter in parameters.items():
            # In C order, whatever order they came in: sums go through memory, so that order decides their last bits.
            own = state[name].astype(parameter.dtype, order="C", copy=True)
            taken[name] = backends.backend_of(parameter.data).asarray(own)
        for name, parameter in parameters.items():
            parameter.data = taken[name]
