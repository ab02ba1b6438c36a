"""Load a model bundle, verify it against its golden rows, and predict rows, frames or Arrow batches.

The code of a `python` bundle is imported below a name of its own, so that versions with different code work in one
process, and `src/` is not read. Inside it, `from model import …` imports the bundle's own `model`.
"""

import builtins
import hashlib
import json
import math
import os
import re
import sys
import timeit
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from lifecycle import renamed_property
from lifecycle.contract import team
from lifecycle.contract.rows import Encoder
from lifecycle.contract.schema import Target
from lifecycle.contract.tables import Batch, Frame
from lifecycle.errors import LifecycleError
from lifecycle.models import runtimes
from lifecycle.models.bundle import CODE, INSTALL, RETRAIN, Bundle, BundleError

Response = dict[str, Any]
PRIVATE = "lifecycle_bundle_"
# The packages that code of bundles imported from elsewhere. What these import themselves is often optional.
IMPORTED = set[str]()


class Predictor:
    """A loaded bundle; BundleError when this environment cannot load it or does not reproduce its golden rows."""

    def __init__(self, bundle: Bundle) -> None:
        _check_environment(bundle)
        self.bundle = bundle
        self.contract = bundle.contract
        self._model = _load(bundle)
        # Of one row alone, and of each of many.
        self._times = math.inf, math.inf
        self.verify_golden_rows()

    def predict(self, rows: Sequence[Mapping[str, Any]], threshold: float | None = None) -> list[Response]:
        """Return one response object for each validated row, which has every column of the contract.

        The positive class is predicted from the probability `threshold` on; 0.5 when None, unused for other tasks.
        """
        return format_predictions(self._model.predict_rows(rows), self.contract.target, threshold)

    def predict_frame(self, frame: Frame, threshold: float | None = None) -> list[Response]:
        """Do the same as `predict` for a validated frame."""
        return format_predictions(self._model.predict_frame(frame), self.contract.target, threshold)

    def predict_raw(self, frame: Frame) -> runtimes.Outputs:
        """Return the raw outputs (see `Outputs`) for a validated frame."""
        return self._model.predict_frame(frame)

    def predict_batch(self, batch: Batch) -> runtimes.Outputs:
        """Return the raw outputs (see `Outputs`) for a validated Arrow batch."""
        return self._model.predict_batch(batch)

    # Names of releases before 0.3.0.
    answers = renamed_property("Predictor.answers", "Predictor.predict")
    frame_answers = renamed_property("Predictor.frame_answers", "Predictor.predict_frame")

    def seconds(self, rows: int) -> float:
        """Return how long a graph predicts so many rows, estimated from the golden rows; infinite for other kinds."""
        return max(self._times[0], rows * self._times[1])

    def verify_golden_rows(self) -> None:
        """Raise BundleError unless the golden rows get the outputs of the trained estimator, within the tolerance."""
        version, hint = self.bundle.version, "Install the versions that its bundle.json lists, or train again."
        golden = [json.loads(line) for line in self.bundle.read("golden.jsonl").splitlines()]
        if not golden:
            raise BundleError(f"bundle {version} has no golden rows", "Train again.")
        expected = np.array([each["answer"] for each in golden], dtype=np.float64)
        rows = [each["row"] for each in golden]
        try:
            outputs = self._model.predict_rows(rows)
            if self.bundle.kind == "onnx":
                self._times = self._time(rows[:1]), self._time(rows) / len(rows)
        # A model of the team or of a library raises its own types.
        except Exception as error:
            problem = f"bundle {version} cannot predict its golden rows ({type(error).__name__}: {error})"
            raise BundleError(problem, hint) from error
        problem, target = f"bundle {version} does not reproduce its training outputs", self.contract.target
        if outputs.shape != expected.shape:
            raise BundleError(f"{problem}: their shape differs", hint)
        wrong = np.flatnonzero(~(runtimes.differences(expected, outputs, target) <= runtimes.tolerance(target)))
        if len(wrong):
            raise BundleError(f"{problem}: golden row {wrong[0] + 1} of {len(golden)} differs", hint)

    def _time(self, rows: list[dict[str, Any]]) -> float:
        # The least of several: another process may take the processor for a while.
        return min(timeit.repeat(lambda: self._model.predict_rows(rows), number=1, repeat=3))


def format_predictions(raw: runtimes.Outputs, target: Target, threshold: float | None) -> list[Response]:
    """Convert raw model outputs (see `Outputs`) to response objects; `threshold` as in `Predictor.predict`.

    Returns for each row `prediction`, and `probability` (of the positive class) or `probabilities` (by class).
    """
    if target.task == "regression":
        return [{"prediction": value} for value in raw.tolist()]
    if target.task == "binary":
        limit = 0.5 if threshold is None else threshold
        return [{"prediction": target.classes[p >= limit], "probability": p} for p in raw.tolist()]
    best = raw.argmax(axis=1)
    return [
        {"prediction": target.classes[at], "probabilities": dict(zip(target.classes, row, strict=True))}
        for at, row in zip(best, raw.tolist(), strict=True)
    ]


def _check_environment(bundle: Bundle) -> None:
    """Raise BundleError naming each distribution that is missing or older (major, minor) than the bundle requires."""
    missing = []
    for name, required in bundle.facts["requires"].items():
        found = team.installed(name)
        if not found or _major_minor(found.version) < _major_minor(required):
            missing.append(f"{name} {required} ({f'installed is {found.version}' if found else 'not installed'})")
    if missing:
        problem = f"bundle {bundle.version} of kind {bundle.kind} needs {', '.join(missing)}"
        raise BundleError(problem, f"Install what it needs: {INSTALL[bundle.kind]}")


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _load(bundle: Bundle) -> runtimes.Model:
    if bundle.kind not in INSTALL:
        problem = f"bundle {bundle.version} is of kind {bundle.kind!r}, which this lifecycle cannot load"
        raise BundleError(problem, "Update the repository, or promote another version.")
    target, name = bundle.contract.target, f"model.{bundle.kind}"
    try:
        if bundle.kind == "python":
            name = bundle.facts["class"]
            return runtimes.FrameModel(load_class(bundle).load(bundle.path / "model"), bundle.contract)
        facts, content = bundle.facts, bundle.read(name)
        encoder = Encoder(bundle.contract, facts["levels"], facts.get("empty", ()))
        if bundle.kind == "onnx":
            return runtimes.OnnxModel(content, encoder, target)
        import skops.io

        if unknown := runtimes.untrusted_types(content):
            problem = f"bundle {bundle.version}: {name} holds {', '.join(unknown)}, which is not trusted"
            raise BundleError(problem, "Return a `python` model from src/model/estimator.py for code of your own.")
        return runtimes.SkopsModel(skops.io.loads(content, trusted=list(runtimes.TRUSTED)), encoder, target)
    except BundleError:
        raise
    # A runtime, skops and the team's code raise their own types.
    except Exception as error:
        first = "".join(str(error).strip().splitlines()[:1])
        problem = f"bundle {bundle.version}: {name} does not load ({type(error).__name__}: {first})"
        raise BundleError(problem, f"It needs {json.dumps(bundle.facts['requires'])}. {RETRAIN}") from error


def load_draft(folder: str, facts: str, package: str, home: str) -> None:
    """Load a bundle without `package` and the path `home`, and print its imports, for `models.bundle.verify_alone`."""
    sys.path[:] = [each for each in sys.path if os.path.realpath(each) != home]
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        Predictor(Bundle(Path(folder), json.loads(facts)))
    except LifecycleError as error:
        sys.exit(error.problem)
    print(*IMPORTED)


def load_class(bundle: Bundle) -> Any:
    """Return the class of a `python` bundle from its own code; bundles of 0.1.0 and 0.2.0 have none and use `src/`."""
    hashes = sorted(each for each in bundle.facts["files"].items() if each[0].startswith(f"{CODE}/"))
    if not hashes:
        return team.python_class(bundle.facts["class"])
    folder = (bundle.path / CODE).resolve()
    # The same name for the same code at the same path, so that a service that tries again imports it once.
    private = PRIVATE + hashlib.sha256(repr((folder, hashes)).encode()).hexdigest()[:16]
    if private not in sys.modules:
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)
        sys.modules[private] = root = ModuleType(private)
        root.__path__ = [str(folder)]
    return team.python_class(f"{private}.{bundle.facts['class']}")


class _Finder:
    """Find the modules below a private name."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        ours = path is not None and name.startswith(PRIVATE)
        return FileFinder(path[0], (_Loader, [".py"])).find_spec(name) if path and ours else None


class _Loader(SourceFileLoader):
    """Execute a module of a bundle with an `import` statement that imports from the bundle first."""

    def get_code(self, fullname: str) -> CodeType:
        # Byte code is neither read nor written: a bundle contains no file that bundle.json does not list.
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        private = module.__name__.partition(".")[0]
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": partial(_import, private)}
        super().exec_module(module)


def _import(
    private: str, name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] = (), level: int = 0
) -> Any:
    package = name.partition(".")[0]
    inside = Path(sys.modules[private].__path__[0], package)
    if level or not (inside.is_dir() or inside.with_suffix(".py").is_file()):
        IMPORTED.update([] if level else [package])
        return builtins.__import__(name, globals, locals, fromlist, level)
    found = builtins.__import__(f"{private}.{name}", globals, locals, fromlist or ())
    # `import a.b` binds a.
    return found if fromlist else sys.modules[f"{private}.{package}"]
