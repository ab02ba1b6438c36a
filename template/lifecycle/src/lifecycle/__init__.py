"""The lifecycle of a model: contract, features, bundles, deployments, jobs and service."""

import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

__version__ = "0.3.1.dev0"

# Dependencies read these variables when they are imported. Without them, onnxruntime 1.32 writes a device id below HOME
# and sends usage data, and MLflow sends usage data.
for _variable in ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_variable, "true" if _variable.startswith("MLFLOW") else "1")

# Modules that tests and notebooks of repositories from before 0.3.0 import, until 0.5.0. `lifecycle.declare` and
# `lifecycle.matrix` are files, because mypy must find what the type-checked code of older repositories imports.
RENAMED_MODULES = {
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
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in RENAMED_MODULES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        warn_renamed(spec.name, RENAMED_MODULES[spec.name])
        module = importlib.import_module(RENAMED_MODULES[spec.name])
        # The import system overwrites it; `exec_module` restores it.
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


# First, because the usual finder would load the submodules of a renamed package a second time.
sys.meta_path.insert(0, _RenamedModules())
