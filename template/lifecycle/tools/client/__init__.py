"""Build a typed client of the service from `contract.json`: a wheel that needs nothing of this repository."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lifecycle.contract.compatibility import python_names, released
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError

PACKAGE = Path(__file__).parent / "package"


def build(root: Path, number: int) -> tuple[Path, str]:
    """Build the wheel of the client of `contract.json` in `dist/`, where it replaces an older one.

    Its version is that of the contract, `number`, and an identifier of the content. Returns the path of the wheel, and
    the lines to use it. Equal contracts give equal bytes. LifecycleError without a valid contract, or where uv fails.
    """
    contract, model, dist = released(root), project_name(root), root / "dist"
    identity = hashlib.sha256(repr(sorted(files(contract, model, "").items())).encode()).hexdigest()
    version = f"{contract.version}.{number}.{int(identity[:8], 16)}"
    # make names its own uv.
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=root / ".uv/bin")
    if uv is None:
        raise LifecycleError("uv is not on the PATH or in .uv/bin", "`make setup` installs it.")
    with tempfile.TemporaryDirectory() as folder:
        project = files(contract, model, version)
        for name, content in project.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(content, encoding="utf-8")
        # uv contains the build backend, so that nothing is downloaded.
        command = [uv, "build", "--wheel", "--offline", "--no-cache", "--no-config", f"--python={sys.executable}"]
        done = subprocess.run([*command, f"--out-dir={folder}", folder], capture_output=True, text=True, check=False)
        if done.returncode:
            problem = f"uv could not build the client: {done.stderr.strip()}"
            raise LifecycleError(problem, "Use uv 0.9 or newer, which builds it without a network.")
        (wheel,) = Path(folder).glob("*.whl")
        dist.mkdir(exist_ok=True)
        (dist / ".gitignore").write_text("*\n", encoding="utf-8")
        for older in dist.glob(f"{package_name(model)}-*.whl"):
            older.unlink()
        usage = project["pyproject.toml"].split("```")[1]
        return Path(shutil.copy(wheel, dist)), usage.removeprefix("python").strip()


def files(contract: Contract, model: str, version: str) -> dict[str, str]:
    """Return the files of the client's project, by path."""
    package = package_name(model)
    jinja = Environment(loader=FileSystemLoader(PACKAGE), undefined=StrictUndefined, trim_blocks=True)
    jinja.filters["repr"] = repr
    names = python_names(column.name for column in contract.request)
    columns = {names[column.name]: column for column in contract.request}
    facts = {"model": model, "contract": contract, "package": package, "version": version, "columns": columns}
    made = {f"src/{package}/py.typed": ""}
    for path in PACKAGE.glob("*.*"):
        text = jinja.get_template(path.name).render(facts) if path.suffix == ".j2" else path.read_text(encoding="utf-8")
        name = path.name.removesuffix(".j2")
        made[f"src/{package}/{name}" if name.endswith(".py") else name] = text
    return made


def package_name(model: str) -> str:
    """Return the import name of a model's client, such as `churn_client`."""
    plain = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_") or "model"
    return f"{'model_' if plain[0].isdigit() else ''}{plain}_client"
