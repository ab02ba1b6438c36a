"""Old name of a part of `lifecycle.contract`, removed in 0.5.0."""

from lifecycle import warn_renamed
from lifecycle.contract import Inputs

__all__ = ["Inputs"]

warn_renamed("lifecycle.matrix", "lifecycle.contract")
