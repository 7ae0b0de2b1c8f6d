"""Known variants of the networks with normalizations, Fixup and SkipInit: rules that change a network object."""
