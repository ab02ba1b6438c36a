"""What a row and a prediction are: declaration, schema, validation, and the matrix that models read.

The names below are what a team's code imports.
"""

from lifecycle.contract.declare import Binary, Key, Lookup, Multiclass, Regression, Request, Row
from lifecycle.contract.matrix import Inputs
from lifecycle.contract.schema import Column, Contract, Target

__all__ = [
    "Binary",
    "Column",
    "Contract",
    "Inputs",
    "Key",
    "Lookup",
    "Multiclass",
    "Regression",
    "Request",
    "Row",
    "Target",
]
