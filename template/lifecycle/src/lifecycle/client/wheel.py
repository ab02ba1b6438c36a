"""The wheel of a client, written by hand: no build tool, no network, and equal contracts give equal bytes."""

import base64
import hashlib
import io
import keyword
import math
import re
import zipfile
from pathlib import Path

from lifecycle.client import source
from lifecycle.contract.names import python_names
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.storage import Store, write_atomically

RELEASED = "contract.json"
FOLDER = "dist"
SHIPPED = Path(__file__).parent / "shipped"
REQUIRES = ("httpx>=0.27,<1", "pydantic>=2.11,<3")
# Nothing of the moment or the machine may reach the bytes; so nothing is compressed, either.
MADE = (1980, 1, 1, 0, 0, 0)

METADATA = """Metadata-Version: 2.1
Name: {distribution}
Version: {version}
Summary: Asks the model {model}, under version {contract} of its contract.
Requires-Python: >=3.11
{requires}
Description-Content-Type: text/markdown

```python
{use}
```

A client of version {contract} goes on working while the service has version {contract}, whatever the numbers after it.
"""
WHEEL = """Wheel-Version: 1.0
Generator: looseleaf-lifecycle
Root-Is-Purelib: true
Tag: py3-none-any
"""
USE = """from {package} import Client, Row

with Client("http://127.0.0.1:8000") as {name}:
    print({name}.predict(Row({fields})).{told})"""


def write(root: Path, build: int) -> tuple[Path, str]:
    """The client of `contract.json` below `dist/`, in the place of an older one, and how it is used.

    `build` is the second part of its version. Raises LifecycleError when there is no contract.
    """
    contract, model = _contract(root / RELEASED), project_name(root)
    name, content = wheel(contract, model, build)
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    for older in folder.glob(f"{package_of(model)}-*.whl"):
        older.unlink()
    write_atomically(folder / name, content)
    return folder / name, use(contract, model)


def differs(root: Path, store: Store, environment: str) -> bool:
    """Whether what answers now takes or gives something else than a client of `contract.json`."""
    deployment = deployments.read(store, environment)
    if deployment is None:
        return False
    path = store.bundles / deployment.current.version / RELEASED
    live, released = Contract.from_json(path.read_bytes(), str(path)), _contract(root / RELEASED)
    return (live.version, live.request, live.target) != (released.version, released.request, released.target)


def wheel(contract: Contract, model: str, build: int = 0) -> tuple[str, bytes]:
    """The name and the bytes of a client's wheel.

    Its version is the contract's, the build, and a number that stands for everything in it.
    """
    content = hashlib.sha256(repr(sorted(_files(contract, model, "").items())).encode())
    version = f"{contract.version}.{build}.{int(content.hexdigest()[:8], 16)}"
    return f"{package_of(model)}-{version}-py3-none-any.whl", _zipped(_files(contract, model, version))


def package_of(model: str) -> str:
    """The import name of a model's client: `churn_client`."""
    plain = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_") or "model"
    return f"{'model_' if plain[0].isdigit() else ''}{plain}_client"


def use(contract: Contract, model: str) -> str:
    """The lines that an application needs; three dots stand for a value of its own."""
    names = python_names(column.name for column in contract.request)
    fields = ", ".join(f"{names[column.name]}=..." for column in contract.request if column.required)
    package = package_of(model)
    told = "probability" if contract.target.task == "binary" else "prediction"
    name = package.removesuffix("_client")
    return USE.format(package=package, name="model" if keyword.iskeyword(name) else name, fields=fields, told=told)


def _contract(path: Path) -> Contract:
    try:
        contract = Contract.from_json(path.read_bytes(), RELEASED)
    except FileNotFoundError:
        raise LifecycleError(f"{path} is missing", "`make contract` writes it; commit it.") from None
    hint = "`make contract` writes it; restore it from git."
    if type(contract.version) is not int or contract.version < 1:
        raise LifecycleError(f"{RELEASED} has the version {contract.version!r}", hint)
    for column in contract.request:
        for limit in (column.low, column.high, column.max_length):
            # It becomes Python that others run.
            if limit is not None and not (type(limit) in (int, float) and math.isfinite(limit)):
                raise LifecycleError(f"{RELEASED}: {column.name} has the limit {limit!r}", hint)
    return contract


def _files(contract: Contract, model: str, version: str) -> dict[str, bytes]:
    package = package_of(model)
    distribution = package.replace("_", "-")
    files = {f"{package}/{path.name}": path.read_bytes() for path in sorted(SHIPPED.glob("[!_]*.py"))}
    package_text = source.package_text(contract, model, distribution, version)
    files |= {f"{package}/__init__.py": package_text.encode(), f"{package}/py.typed": b""}
    files[f"{package}/contract.py"] = source.contract_text(contract).encode()
    metadata = METADATA.format(
        distribution=distribution,
        version=version,
        model=model,
        contract=contract.version,
        requires="\n".join(f"Requires-Dist: {each}" for each in REQUIRES),
        use=use(contract, model),
    )
    info = f"{package}-{version}.dist-info"
    files |= {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": WHEEL.encode()}
    return files | {f"{info}/RECORD": _record(files, f"{info}/RECORD").encode()}


def _record(files: dict[str, bytes], itself: str) -> str:
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{itself},,\n"])


def _zipped(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, MADE)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content)
    return whole.getvalue()
