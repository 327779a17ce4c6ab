"""Errors of the benchmarks.

BenchmarkError               a benchmark could not be run; the message says why
└── DifferentAnswers         ours and a peer's values differ, so that nothing was timed
"""

from __future__ import annotations


class BenchmarkError(Exception):
    """A benchmark could not be run."""


class DifferentAnswers(BenchmarkError):
    """Ours and a peer's values differ: comparing their speed would say nothing."""
