"""Known variants of DenseNets' layers and of Inception's modules."""

from .... import nn, ops
from ....models import densenet, inception_v3
from .changes import each, variant, wrapped


def _new_first(layer, x, mode=nn.EVALUATION):
    out = layer.conv0(layer.activation(layer.norm0(x, mode)))
    return ops.concatenate(layer.conv1(layer.activation(layer.norm1(out, mode))), x, axis=3)


def _transition(pool):
    return lambda block, x, mode=nn.EVALUATION: pool(block.conv0(block.activation(block.norm0(x, mode))))


def _transitions(pool):
    return each(densenet.Transition, __call__=_transition(pool))


DENSE = (
    variant("new channels first", "order", each(densenet.DenseLayer, __call__=_new_first), "A dense layer puts its "
            "own channels before those of its input; they belong after them."),
    variant("transition pools the maximum", "pools", _transitions(
        lambda x: ops.max_pool(x, window=2, padding="VALID")), "Transitions take the maximum of 2×2 pixels; it should "
        "be the mean."),
    variant("transition keeps odd rows", "pools", _transitions(lambda x: ops.avg_pool(x, window=2)), "At odd sizes "
            "transitions average the last row and column too (ceil_mode); they should be left out.", benign=True))


def _own_pool(pool):
    def outputs(original, block, x, mode):
        kept = [(conv.norm, dict(vars(conv.norm))) for conv in block.branch_pool]
        branches = original(block, x, mode)[:-1]
        for norm, attributes in kept:  # the pooling branch is run again, and takes in a batch once
            vars(norm).update(attributes)
        return [*branches, inception_v3.run(pool(x), block.branch_pool, mode)]
    return outputs


POOLING_MODULES = (inception_v3.ModuleA, inception_v3.ModuleC, inception_v3.ModuleE)
INCEPTION = (
    variant("average pool leaves padding out", "pools", wrapped(POOLING_MODULES, "outputs", _own_pool(
        lambda x: ops.avg_pool(x, window=3, stride=1, padding=1))), "At the edge the average is over the real pixels "
        "under the window (count_include_pad=False); the released network always divides by 9.", benign=True),
    variant("pooling branch takes the maximum", "pools", wrapped(POOLING_MODULES, "outputs", _own_pool(
        lambda x: ops.max_pool(x, window=3, stride=1, padding=1))), "The pooling branch of the modules that keep the "
        "size takes the maximum; it should be the mean."),
    variant("branches in reverse order", "order", each(
        inception_v3.InceptionModule, __call__=lambda block, x, mode=nn.EVALUATION: ops.concatenate(
            *block.outputs(x, mode)[::-1], axis=3)), "The branches are concatenated last to first."))
