"""What is measured, independent of who computes it: one file a kind of case."""
