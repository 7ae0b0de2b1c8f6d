"""What can be checked: a file for each kind, with its rules, its catalogue of known forms, and its problems."""
