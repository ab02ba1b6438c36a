"""Old name of a part of `lifecycle.contract`, removed in 0.5.0."""

from lifecycle.contract import Inputs
from lifecycle.renamed import warn_renamed

__all__ = ["Inputs"]

warn_renamed("lifecycle.matrix", "lifecycle.contract")
