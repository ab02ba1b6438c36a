"""The sample data set."""

from lifecycle.sample.generate import write

__all__ = ["write"]
