"""Parameter names and shapes of a network, also where changed rules make it wider, narrower or shorter."""

from ...models import NFNetConfig, NFRegNetConfig, from_config
from ..checks.se import hidden_width


def parameter_shapes(config, rules):
    """Our parameters' names -> shapes, in order, for a configuration whose network is built by `rules`."""
    shapes = {name: tuple(value.shape) for name, value in from_config(config, shapes_only=True).parameters().items()}
    for block in sorted({name.split(".")[1] for name in shapes if name.startswith("blocks.")}, key=int):
        _change_block(shapes, f"blocks.{block}", config, rules)
    return shapes


def _change_block(shapes, block, config, rules):
    grouped = [name for name in ("conv1", "conv1b") if f"{block}.{name}.weight" in shapes]
    entering = shapes[f"{block}.conv0.weight"][2]
    leaving = shapes[f"{block}.conv2.weight"][3]
    width = shapes[f"{block}.conv0.weight"][3]
    group = shapes[f"{block}.conv1.weight"][2]
    if rules.width != "the family's":
        width = _width(entering, leaving, config, rules.width, first=block == "blocks.0")
    group = {"of group_size channels": min(group, width), "as many as group_size":
             max(1, width // getattr(config, "group_size", width)), "one": width}[rules.groups]
    group = group if width % group == 0 else width
    shapes[f"{block}.conv0.weight"] = (1, 1, entering, width)
    shapes[f"{block}.conv2.weight"] = (1, 1, width, leaving)
    for name in grouped:
        shapes[f"{block}.{name}.weight"] = (3, 3, group, width)
    for name in ("conv0", *grouped):
        for leaf in ("gain", "bias"):
            shapes[f"{block}.{name}.{leaf}"] = (width,)
    if rules.second_3x3 == "left out":
        for leaf in ("weight", "gain", "bias"):
            shapes.pop(f"{block}.conv1b.{leaf}", None)
    if f"{block}.squeeze_excite.fc0.weight" in shapes:
        inside = isinstance(config, NFRegNetConfig) != (rules.excitation_place == "the other family's")
        channels = width if inside else leaving
        hidden = hidden_width(channels, config.se_ratio, rules.excitation.hidden)
        shapes[f"{block}.squeeze_excite.fc0.weight"] = (channels, hidden)
        shapes[f"{block}.squeeze_excite.fc0.bias"] = (hidden,)
        shapes[f"{block}.squeeze_excite.fc1.weight"] = (hidden, channels)
        shapes[f"{block}.squeeze_excite.fc1.bias"] = (channels,)


def _width(entering, leaving, config, rule, first):
    """Channels of a bottleneck."""
    group = getattr(config, "group_size", 1)
    ratio = getattr(config, "expansion", getattr(config, "bottleneck_ratio", 1.0))
    exact = {"from the block's input": entering * ratio, "from the block's output":
             leaving * (1 if first and isinstance(config, NFRegNetConfig) else ratio),
             "expanded in the first block too": entering * ratio,
             "as wide as the output": leaving * 1.0}[rule]
    if isinstance(config, NFNetConfig) and rule == "expanded in the first block too":
        exact = leaving * ratio
    return max(1, int(exact) // group) * group
