"""Targets for the auditor's own audit: planted mistakes and right implementations of every kind and framework.

`registry.cases()` has all of them, `reference_tests/tools/audit_verify.py` runs them.
"""
