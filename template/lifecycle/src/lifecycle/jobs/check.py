"""Check that settings, contract and features.sql of the repository are consistent."""

from pathlib import Path

from lifecycle import settings as settings_module
from lifecycle.contract.compatibility import RELEASED, compare
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Data
from lifecycle.features import point_in_time
from lifecycle.ownership import Finding
from lifecycle.registry import deployments
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import Store


def check(contract: Contract, features_sql: str | None, data: Data, settings: Settings, root: Path) -> list[str]:
    """Check settings, contract and features.sql against each other, without training.

    Returns:
        One line for each part that is valid.

    Raises:
        LifecycleError: the first fault.
    """
    for environment in ENVIRONMENTS:
        settings_module.load(root, environment)
    compare(contract, root)
    valid = [f"config: {', '.join(ENVIRONMENTS)}"]
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
    return [
        Finding(f"{store.audit}:{line}", problem, hint, refused=False) for line in deployments.incomplete_lines(store)
    ]
