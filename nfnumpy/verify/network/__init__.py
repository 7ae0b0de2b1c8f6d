"""The reference of whole networks by rules that can be changed, and the diagnosis of a network that differs from it."""
