"""Checks of a result that need no ground truth: self-check, re-slicing, noise; and the report with them.

docs/check.md says what each number means and what it does not. Nothing here imports torch before a check runs.
"""

from __future__ import annotations

from .numbers import numbers
from .report import Reported, check_report_folder, write_report
from .run import Check, check_result, in_hounsfield_units

__all__ = ["Check", "Reported", "check_report_folder", "check_result", "in_hounsfield_units", "numbers", "write_report"]
