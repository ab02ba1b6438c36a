"""The team's code in a `python` bundle: copy it there, import a class from it, and verify that nothing is missing.

The code of a bundle is imported below a name of its own, so that versions with different code work in one process, and
`src/` is not read. Inside it, `from model import …` imports the bundle's own `model`.
"""

import builtins
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lifecycle.contract import team
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle

FOLDER, PRIVATE = "source", "lifecycle_bundle_"
SUFFIXES = (".py", ".sql", ".json", ".yaml", ".yml", ".toml", ".txt")
LARGEST = 1_000_000
# The packages that code of bundles imported from elsewhere. What these import themselves is often optional.
IMPORTED = set[str]()
# Loads a bundle where its package cannot be imported from the folder that it was copied from, and prints IMPORTED.
VERIFY = """
import json, os, pathlib, sys
folder, facts, package, home = sys.argv[1:]
sys.path[:] = [each for each in sys.path if os.path.realpath(each) != home]
sys.modules[package] = None
from lifecycle.models import bundle, bundled_code, predictor
try:
    predictor.Predictor(bundle.Bundle(pathlib.Path(folder), json.loads(facts)))
except bundle.LifecycleError as error:
    sys.exit(error.problem)
print(*bundled_code.IMPORTED)
"""


def copy_code(cls: type, folder: Path) -> None:
    """Copy the package of a class (or its module, where that is a single file) into the folder of a bundle.

    Only files with one of SUFFIXES are copied, and none that is hidden; nothing of the package of another distribution.
    Raises LifecycleError above LARGEST bytes.
    """
    whole = _home(cls)
    if _is_foreign(whole):
        return
    found = whole.rglob("*") if whole.is_dir() else [whole]
    names = (path.relative_to(whole.parent) for path in found if path.suffix in SUFFIXES and path.is_file())
    sizes = {name: (whole.parent / name).stat().st_size for name in sorted(names) if "/." not in f"/{name.as_posix()}"}
    if sum(sizes.values()) > LARGEST:
        most = max(sizes, key=sizes.__getitem__)
        problem = f"{whole} holds {sum(sizes.values()) / 1e6:.1f} MB of code and text, most of it in {most}"
        raise LifecycleError(
            problem, f"A bundle holds at most {LARGEST / 1e6:g} MB of it: move data to another folder."
        )
    for name in sizes:
        (folder / FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(whole.parent / name, folder / FOLDER / name)


def verify_alone(cls: type, folder: Path) -> dict[str, Any]:
    """Load the class of a bundle that is being written in a process that can import only its code and distributions.

    Returns:
        The facts about it in `bundle.json`: its name, and under `requires` the packages that its code imports.

    Raises:
        LifecycleError: something is missing there, or the golden rows are not reproduced.
    """
    home, package = _home(cls).parent, cls.__module__.partition(".")[0]
    facts = {"kind": "python", "class": f"{cls.__module__}:{cls.__qualname__}", "requires": {}}
    files = dict.fromkeys(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    installed = {os.path.realpath(each): each for each in sys.path if each and any(Path(each).glob("*.dist-info"))}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(installed.values())}
    hidden, blocked = ("" if str(home) in installed else str(home)), ("" if _is_foreign(_home(cls)) else package)
    draft = json.dumps(facts | {"version": "draft", "files": files})
    command = [sys.executable, "-P", "-c", VERIFY, str(folder), draft, blocked, hidden]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        hint = f"A bundle holds the {', '.join(SUFFIXES)} files of src/{package}. Move there what the class imports or "
        hint += "reads, use `import` statements, save other files in save(), and `uv add` what it needs of others."
        raise LifecycleError(f"the model does not load from the code in its bundle: {reason}", hint)
    return facts | {"requires": [package, *(done.stdout.splitlines() or [""])[-1].split()]}


def _is_foreign(whole: Path) -> bool:
    # The team's own package may be installed as well.
    return whole.name != team.PACKAGE and any(whole.parent.glob("*.dist-info"))


def _home(cls: type) -> Path:
    """Return the folder of the package that a class belongs to, or the file of its module."""
    package = cls.__module__.partition(".")[0]
    spec = None if package == "__main__" else importlib.util.find_spec(package)
    places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    if not places or places[0] is None:
        problem = f"the model's class {cls.__name__} is defined in {cls.__module__}"
        raise LifecycleError(problem, "Define it in a module of src/model/.")
    return Path(places[0]).resolve()


def load_class(bundle: Bundle) -> Any:
    """Return the class of a `python` bundle from its own code; bundles of 0.1.0 and 0.2.0 have none and use `src/`."""
    hashes = sorted(each for each in bundle.facts["files"].items() if each[0].startswith(f"{FOLDER}/"))
    if not hashes:
        return team.python_class(bundle.facts["class"])
    folder = (bundle.path / FOLDER).resolve()
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
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code

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
