"""Old names of `lifecycle.contract`, removed in 0.5.0."""

from lifecycle import warn_renamed
from lifecycle.contract import Binary as TwoClasses
from lifecycle.contract import Key, Request, Row
from lifecycle.contract import Lookup as Entity
from lifecycle.contract import Multiclass as Classes
from lifecycle.contract import Regression as Number

__all__ = ["Classes", "Entity", "Key", "Number", "Request", "Row", "TwoClasses"]

_RENAMED = "TwoClasses: Binary, Classes: Multiclass, Number: Regression, Entity: Lookup"
warn_renamed("lifecycle.declare", f"lifecycle.contract ({_RENAMED})")
