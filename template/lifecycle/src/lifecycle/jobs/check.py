"""Whether the repository is consistent with itself, without training anything."""

from pathlib import Path

from lifecycle import settings as settings_module
from lifecycle.contract.compatibility import unannounced
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, Refused
from lifecycle.features import point_in_time
from lifecycle.ownership.findings import Finding
from lifecycle.registry.deployments import AUDIT_HINT, audit_breaks, audit_halves
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import Store, write_atomically

RELEASED = "contract.json"


def check(contract: Contract, features_sql: str | None, data: Data, settings: Settings, root: Path) -> list[str]:
    """What was found to be in order, in words; raises LifecycleError at the first thing that is not."""
    for environment in ENVIRONMENTS:
        settings_module.load(root, environment)
    told = [f"config: {', '.join(ENVIRONMENTS)}"]
    compare(contract, root)
    told.append(f"contract: version {contract.version}, {len(contract.columns)} columns, as in {RELEASED}")
    if breaks := audit_breaks(settings.store):
        problem = f"{settings.store.audit} does not follow from itself at line {', '.join(map(str, breaks))}"
        raise LifecycleError(problem, AUDIT_HINT)
    if features_sql is not None:
        connection = point_in_time.connect(data, settings.data)
        point_in_time.check_sql(connection, contract, features_sql)
        told.append(f"features.sql: {len(contract.lookups)} entity columns, as in the contract")
    return told


def warnings(store: Store) -> list[Finding]:
    """What is told and refuses nothing: lines of the audit that a killed writer left."""
    problem = "half a line: its writer was killed, and what it was to say is not on record"
    hint = "Leave it, the lines after it vouch for it; do again what was to be done."
    return [Finding(f"{store.audit}:{line}", problem, hint, refused=False) for line in audit_halves(store)]


def compare(contract: Contract, root: Path) -> None:
    """Raise LifecycleError when `contract.json`, the last released contract, is not what `contract.py` declares."""
    path = root / RELEASED
    if not path.exists():
        raise LifecycleError(f"{path} is missing", "`make contract` writes it; commit it.")
    if _differs(contract, path):
        problem = "src/model/contract.py has changed since contract.json was written; callers can go on"
        raise LifecycleError(problem, "`make contract` writes the new one; commit both.")


def release(contract: Contract, root: Path) -> bool:
    """Write `contract.json`; whether it changed. Raises Refused for a breaking change without a new VERSION."""
    path = root / RELEASED
    if path.exists() and not _differs(contract, path):
        return False
    write_atomically(path, contract.to_json().encode())
    return True


def _differs(new: Contract, path: Path) -> bool:
    """Whether the released contract is another; raises Refused when its callers would break without a new VERSION."""
    released = path.read_text(encoding="utf-8")
    if released == new.to_json():
        return False
    old = Contract.from_json(released, RELEASED)
    found = unannounced(old, new)
    if found or new.version < old.version:
        reasons = "\n  ".join(found or ["its VERSION is lower"])
        raise Refused(
            f"the contract would break callers of version {old.version}:\n  {reasons}",
            f"Undo it, or set VERSION = {old.version + 1} in src/model/contract.py and tell the callers. "
            "If nobody calls it yet, remove contract.json and run `make contract`.",
        )
    return True
