"""Names from releases before 0.3.0, kept until 0.5.0 for repositories that were rendered from them."""

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

# Modules that tests and notebooks of older repositories import. `lifecycle.declare` and `lifecycle.matrix` are files,
# because mypy must find what the type-checked code of older repositories imports.
MODULES = {
    "lifecycle.bundle": "lifecycle.models.bundle",
    "lifecycle.frames": "lifecycle.contract.tables",
    "lifecycle.invented": "lifecycle.sample.synthetic",
    "lifecycle.moments": "lifecycle.timestamps",
    "lifecycle.pipelines": "lifecycle.training",
    "lifecycle.pipelines.train": "lifecycle.training.train",
    "lifecycle.predictor": "lifecycle.models.predictor",
    "lifecycle.store": "lifecycle.storage",
    "lifecycle.team": "lifecycle.contract.team",
}


@functools.cache
def warn_renamed(old: str, new: str) -> None:
    """Warn once per process that `old` is now called `new`."""
    warnings.warn(f"{old} is now {new}; the old name is removed in 0.5.0.", FutureWarning, stacklevel=3)


def renamed_property(old: str, new: str) -> property:
    """Return a property that warns that `old` is now `new`, and has the value of the attribute that `new` ends with."""

    def get(self: object) -> object:
        warn_renamed(old, new)
        return getattr(self, new.rpartition(".")[2])

    return property(get)


class _RenamedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder that resolves an old module name to the module that replaced it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MODULES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        warn_renamed(spec.name, MODULES[spec.name])
        module = importlib.import_module(MODULES[spec.name])
        # The import system overwrites it; `exec_module` restores it.
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def find_renamed_modules() -> None:
    """Make `import` resolve the old module names."""
    # First, because the usual finder would load the submodules of a renamed package a second time.
    sys.meta_path.insert(0, _RenamedModules())
