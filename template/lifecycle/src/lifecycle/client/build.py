"""Generate the package of a client from `contract.json` and build its wheel with uv."""

import hashlib
import keyword
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lifecycle.contract.names import python_names
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.storage import Store

RELEASED, DIST = "contract.json", "dist"
PACKAGE = Path(__file__).parent / "package"
TYPES = {"number": "float", "integer": "WholeNumber", "boolean": "bool", "category": "str", "time": "Timestamp"}
USE = """from {package} import Client, Row

with Client("http://127.0.0.1:8000") as {name}:
    print({name}.predict(Row({fields})).{field})"""
README = """```python
{use}
```

A client of version {version} works with every service whose contract has version {version}.
"""


def build(root: Path, number: int) -> tuple[Path, str]:
    """Build the wheel of the client of `contract.json` in `dist/`, where it replaces an older one.

    Args:
        root: the repository.
        number: the second part of the client's version.

    Returns:
        The path of the wheel, and the lines that an application needs to use it. Equal contracts give equal bytes; the
        third part of the version identifies the content.

    Raises:
        LifecycleError: there is no valid contract, or uv is missing or fails.
    """
    contract, model, dist = read_contract(root), project_name(root), root / DIST
    identity = hashlib.sha256(repr(sorted(files(contract, model, "").items())).encode()).hexdigest()
    version = f"{contract.version}.{number}.{int(identity[:8], 16)}"
    # make names its own uv.
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=root / ".uv/bin")
    if uv is None:
        raise LifecycleError("uv is not on the PATH or in .uv/bin", "`make setup` installs it.")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files(contract, model, version).items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(content, encoding="utf-8")
        # uv contains the build backend, so that nothing is downloaded.
        options = [
            "--wheel",
            "--offline",
            "--no-cache",
            "--no-config",
            f"--python={sys.executable}",
            f"--out-dir={folder}",
        ]
        done = subprocess.run([uv, "build", *options, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            problem = f"uv could not build the client: {done.stderr.strip()}"
            raise LifecycleError(problem, "Use uv 0.9 or newer, which builds it without a network.")
        (wheel,) = Path(folder).glob("*.whl")
        dist.mkdir(exist_ok=True)
        (dist / ".gitignore").write_text("*\n", encoding="utf-8")
        for older in dist.glob(f"{package_name(model)}-*.whl"):
            older.unlink()
        return Path(shutil.copy(wheel, dist)), example(contract, model)


def files(contract: Contract, model: str, version: str) -> dict[str, str]:
    """Return the files of the client's project, by path."""
    package = package_name(model)
    jinja = Environment(loader=FileSystemLoader(PACKAGE), undefined=StrictUndefined, trim_blocks=True)
    jinja.filters["repr"] = repr
    names = python_names(column.name for column in contract.request)
    facts = {
        "model": model,
        "contract": contract.version,
        "package": package,
        "distribution": package.replace("_", "-"),
        "version": version,
        "row": [_row_field(names[column.name], column) for column in contract.request],
        "prediction": _prediction_fields(contract.target),
    }
    made = {f"src/{package}/{path.name}": path.read_text(encoding="utf-8") for path in PACKAGE.glob("[!_]*.py")}
    made |= {f"src/{package}/__init__.py": jinja.get_template("generated.py.j2").render(facts)}
    made |= {"pyproject.toml": jinja.get_template("pyproject.toml.j2").render(facts)}
    readme = README.format(use=example(contract, model), version=contract.version)
    return made | {f"src/{package}/py.typed": "", "README.md": readme}


def package_name(model: str) -> str:
    """Return the import name of a model's client, such as `churn_client`."""
    plain = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_") or "model"
    return f"{'model_' if plain[0].isdigit() else ''}{plain}_client"


def example(contract: Contract, model: str) -> str:
    """Return the lines that an application needs; three dots stand for its own values."""
    names = python_names(column.name for column in contract.request)
    fields = ", ".join(f"{names[column.name]}=..." for column in contract.request if column.required)
    package = package_name(model)
    name = package.removesuffix("_client")
    field = "probability" if contract.target.task == "binary" else "prediction"
    return USE.format(package=package, name="model" if keyword.iskeyword(name) else name, fields=fields, field=field)


def read_contract(root: Path) -> Contract:
    """Return the contract in `contract.json`; raises LifecycleError where there is no valid one."""
    path, hint = root / RELEASED, "`make contract` writes it; restore it from git."
    if not path.exists():
        raise LifecycleError(f"{path} is missing", "`make contract` writes it; commit it.")
    contract = Contract.from_json(path.read_bytes(), RELEASED)
    if type(contract.version) is not int or contract.version < 1:
        raise LifecycleError(f"{RELEASED} has the version {contract.version!r}, which is not a positive integer", hint)
    return contract


def differs(root: Path, store: Store, environment: str) -> bool:
    """Return whether the deployed version has another request or response than `contract.json`."""
    deployment = deployments.read(store, environment)
    if deployment is None:
        return False
    path = store.bundles / deployment.current.version / RELEASED
    deployed, released = Contract.from_json(path.read_bytes(), str(path)), read_contract(root)
    return (deployed.version, deployed.request, deployed.target) != (
        released.version,
        released.request,
        released.target,
    )


def _row_field(name: str, column: Column) -> str:
    kind = _literal(column.levels) if column.levels else TYPES[column.kind]
    limits = {"ge": column.low, "le": column.high}
    if column.kind == "integer":
        limits = {name: None if limit is None else int(limit) for name, limit in limits.items()}
    given = limits | {
        "max_length": None if column.levels else column.max_length,
        "alias": column.name if column.name != name else None,
        "description": _description(column.description, column.unit),
    }
    default = "" if column.required else f" = {column.default!r}"
    return f"{name}: Annotated[{kind}{' | None' if column.nullable else ''}, {_field(given)}]{default}"


def _prediction_fields(target: Target) -> list[str]:
    properties = target.to_schema()["properties"]
    kinds = {
        "prediction": _literal(target.classes) if target.classes else "float",
        "probability": "float",
        "probabilities": f"dict[{_literal(target.classes)}, float]" if target.classes else "",
    }
    fields = []
    for name, schema in properties.items():
        description = _description(schema.get("description", ""), target.unit if name == "prediction" else "")
        fields.append(f"{name}: Annotated[{kinds[name]}, {_field({'description': description})}]")
    return fields


def _literal(values: tuple[str, ...]) -> str:
    return f"Literal[{', '.join(map(repr, values))}]"


def _field(given: dict[str, Any]) -> str:
    return f"Field({', '.join(f'{name}={value!r}' for name, value in given.items() if value is not None)})"


def _description(text: str, unit: str) -> str | None:
    return f"{text} Unit: {unit}.".strip() if unit else text or None
