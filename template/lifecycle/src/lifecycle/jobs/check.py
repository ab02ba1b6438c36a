"""Check that settings, contract and features.sql of the repository are consistent; release the contract."""

from pathlib import Path

from lifecycle import settings as settings_module
from lifecycle.contract.compatibility import undeclared_changes
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, Refused
from lifecycle.features import point_in_time
from lifecycle.ownership.owners_file import Finding
from lifecycle.registry import audit
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import Store, write_atomically

RELEASED = "contract.json"


def check(contract: Contract, features_sql: str | None, data: Data, settings: Settings, root: Path) -> list[str]:
    """Check settings, contract and features.sql against each other, without training.

    Returns:
        One line for each part that is valid.

    Raises:
        LifecycleError: the first fault.
    """
    for environment in ENVIRONMENTS:
        settings_module.load(root, environment)
    valid = [f"config: {', '.join(ENVIRONMENTS)}"]
    compare(contract, root)
    valid.append(f"contract: version {contract.version}, {len(contract.columns)} columns, as in {RELEASED}")
    if features_sql is not None:
        connection = point_in_time.connect(data, settings.data)
        point_in_time.check_sql(connection, contract, features_sql)
        valid.append(f"features.sql: {len(contract.lookups)} looked-up columns, as in the contract")
    return valid


def warnings(store: Store) -> list[Finding]:
    """Return warnings that do not fail the check: incomplete lines of the audit log."""
    problem = "incomplete line: its writer was killed, and the change was not recorded"
    hint = "Repeat the change if it was not made. The line itself does no harm."
    return [Finding(f"{store.audit}:{line}", problem, hint, refused=False) for line in audit.incomplete_lines(store)]


def compare(contract: Contract, root: Path) -> None:
    """Raise LifecycleError when `contract.json`, the last released contract, is not what `contract.py` declares."""
    path = root / RELEASED
    if not path.exists():
        raise LifecycleError(f"{path} is missing", "`make contract` writes it; commit it.")
    if _differs(contract, path):
        problem = "src/model/contract.py has changed since contract.json was written, in a way that breaks no caller"
        raise LifecycleError(problem, "`make contract` writes the new one; commit both.")


def release(contract: Contract, root: Path) -> bool:
    """Write `contract.json`; return whether it changed. A breaking change without a new VERSION raises Refused."""
    path = root / RELEASED
    if path.exists() and not _differs(contract, path) and path.read_text(encoding="utf-8") == contract.to_json():
        return False
    write_atomically(path, contract.to_json().encode())
    return True


def _differs(new: Contract, path: Path) -> bool:
    """Return whether the released contract differs in content: an older release wrote other names for the same content.

    Raises:
        Refused: callers of the released contract would break, and VERSION is not higher.
    """
    old = Contract.from_json(path.read_text(encoding="utf-8"), RELEASED)
    if old == new:
        return False
    found = undeclared_changes(old, new)
    if found or new.version < old.version:
        reasons = "\n  ".join(found or ["its VERSION is lower"])
        raise Refused(
            f"the contract would break callers of version {old.version}:\n  {reasons}",
            f"Undo it, or set VERSION = {old.version + 1} in src/model/contract.py and inform the callers. "
            "If nobody calls it yet, remove contract.json and run `make contract`.",
        )
    return True
