"""Replace libraries that draw: a picture cannot change a prediction, fails without a screen, and takes time."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from typing import Any

# Methods that return another stub.
METHODS = (
    "call", "getitem", "enter", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv",
    "lt", "gt", "le", "ge",
)  # fmt: skip
RESULTS = {"len": 2, "float": 0.0, "int": 0, "setitem": None, "exit": None}


class Stub(types.ModuleType):
    """An object that accepts every call, attribute and item, and does nothing."""

    def __init__(self, name: str = "stub") -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__all__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Stub(name)

    def __iter__(self) -> Any:
        # `figure, axes = plt.subplots()` unpacks two.
        return iter([Stub(), Stub()])

    def __mro_entries__(self, _: Any) -> Any:
        return (object,)


def _stub(self: Any, *_: Any, **__: Any) -> Any:
    return Stub()


for _name, _value in RESULTS.items():
    setattr(Stub, "__" + _name + "__", lambda *_, _value=_value: _value)
for _name in METHODS:
    setattr(Stub, "__" + _name + "__", _stub)


class Finder:
    """An importer of stubs for some packages."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the specification of a stub for a module that draws."""
        if name.split(".")[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> Any:
        """Return a stub as the module."""
        return Stub(spec.name)

    def exec_module(self, module: Any) -> None:
        """Run nothing."""


def install(drawing: list[str]) -> None:
    """Replace these libraries and the methods of pandas that draw."""
    import pandas as pd
    from pandas.core.groupby import GroupBy

    sys.meta_path.insert(0, Finder(drawing))
    # google.colab exists only there; other packages of google are real.
    sys.meta_path.append(Finder(["google"]))
    replaced: Any = {"plot": property(_stub), "hist": _stub, "boxplot": _stub}
    for cls in (pd.DataFrame, pd.Series, GroupBy):
        for name, method in replaced.items():
            setattr(cls, name, method)
    plotting = Stub("pandas.plotting")
    sys.modules["pandas.plotting"] = plotting
    pd.plotting = plotting
