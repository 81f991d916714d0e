"""Checks of a result that need no ground truth: self-check, re-slicing, noise; and the report with them.

docs/check.md says what each number means and what it does not. Nothing here imports torch before a check runs.
"""
