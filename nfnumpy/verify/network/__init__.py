"""Normalizer-free networks whose rules can be changed: what `block` and `model` are held against and explained with."""
