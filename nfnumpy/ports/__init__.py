"""Right ports of the networks to other frameworks, each one file in that framework's own idiom.

`torch` and `jax` are the normalizer-free networks; `torch_resnet` and others beside it what they are compared with.
They are the oracles of the tests, the opponents of the bench, the positive controls of `nfnumpy.verify`, and an example
of what a port has to get right. They share no code with the reference: of it they import plain data alone (the
constants gamma, mean and standard deviation), and nothing of the reference imports them.
"""
