"""Windows drawn from the training distribution raise few alarms for any kind of column, and real shifts are found."""

import pytest

from lifecycle.models import reference
from lifecycle.monitoring import drift
from support.false_alarms import KINDS, LIMIT, WINDOWS, alarms

PROFILES, EACH = 6, 10


@pytest.mark.parametrize(("training", "size"), [(1000, 1500), (4000, 600)])
def test_unchanged_windows_raise_few_alarms_for_each_kind_of_column(training: int, size: int) -> None:
    counts = alarms(PROFILES, EACH, training, size)
    print({name: count for name, count in counts.items() if count})
    assert {name for name, count in counts.items() if count > LIMIT * PROFILES * EACH / WINDOWS} == set()


def test_a_real_shift_of_each_kind_of_column_is_found() -> None:
    counts = alarms(3, 4, 4000, 1500, shifted=True)
    missed = {name: 12 - count for name, count in counts.items() if count < 11}
    # A change from 40 to 58 % of the values is about as large as `monitor.psi`.
    assert missed.keys() <= {"boolean with nulls", "3 levels"}
    assert {kind.column.name for kind in KINDS} < counts.keys()


@pytest.mark.parametrize(
    ("module", "name", "value", "kind"),
    [
        (reference, "MIN_LEVEL_ROWS", 2, "500 levels"),
        (drift, "CONSTANT_ROWS", 1, "number, 99.7 % null"),
        # As if the training rows had been inside of `expected`.
        (reference, "share_outside", lambda column, values: 0.0, "outside expected 4 %"),
    ],
)
def test_without_a_safeguard_there_are_false_alarms(
    module: object, name: str, value: object, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, value)
    training, size = (1000, 1500) if kind == "500 levels" else (4000, 300)
    assert alarms(3, 10, training, size)[kind] > 2
