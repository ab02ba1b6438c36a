"""The contract of a model: declaration, schema, validation of rows and tables, and the matrix that models read.

The team's code imports the names below.
"""

from lifecycle.contract.declare import Binary, Id, Key, Logged, Lookup, Multiclass, Regression, Request, Row
from lifecycle.contract.rows import Inputs
from lifecycle.contract.schema import Column, Contract, Target

__all__ = ["Binary", "Column", "Contract", "Id", "Inputs", "Key", "Logged", "Lookup", "Multiclass", "Regression"]
__all__ += ["Request", "Row", "Target"]
