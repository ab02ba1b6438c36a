"""The contract: declaration, schema, validation, and the matrix of models. The team's code imports the names below."""

from lifecycle.contract.declare import Binary, Id, Key, Logged, Lookup, Multiclass, Regression, Request, Row
from lifecycle.contract.rows import Inputs, RowError
from lifecycle.contract.schema import Column, Contract, Target

__all__ = ["Binary", "Column", "Contract", "Id", "Inputs", "Key", "Logged", "Lookup", "Multiclass", "Regression"]
__all__ += ["Request", "Row", "RowError", "Target"]
