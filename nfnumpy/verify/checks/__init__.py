"""What can be checked: one file a check, with its rules, its catalogue of known variants, and its input cases."""
