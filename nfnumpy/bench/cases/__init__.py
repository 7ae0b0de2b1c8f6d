"""What is measured, independent of the implementation: one file a kind of case."""
