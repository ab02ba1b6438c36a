"""The sample is repeatable, late, seasonal, learnable, and drifts only on request."""

from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import duckdb
import pytest

from lifecycle import sample
from lifecycle.contract import team
from lifecycle.settings import Settings
from lifecycle.training.train import train
from model import data, estimator

TABLES = ("customers", "events", "labels")
TIMES = {"customers": "joined", "events": "seen_ts", "labels": "ts"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("shifted"), drift=True)


def write(folder: Path, seed: int = 0, drift: bool = False, customers: int = 2000) -> Path:
    sample.write(folder, seed=seed, drift=drift, customers=customers)
    return folder


def query(folder: Path, sql: str) -> list[tuple]:
    with duckdb.connect(config={"threads": 1}) as connection:
        for name in TABLES:
            connection.execute(f"CREATE VIEW {name} AS FROM '{folder / name}.parquet'")
        return connection.execute(sql).fetchall()


def number(folder: Path, sql: str) -> float:
    return query(folder, sql)[0][0]


def test_the_same_seed_writes_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    write(tmp_path)
    assert [(tmp_path / f"{name}.parquet").read_bytes() for name in TABLES] == [
        (plain / f"{name}.parquet").read_bytes() for name in TABLES
    ]


def test_another_seed_writes_another_history(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", customers=100), write(tmp_path / "two", seed=1, customers=100)
    assert query(one, "FROM events") != query(two, "FROM events")


def test_no_temporary_file_remains(plain: Path) -> None:
    assert sorted(path.name for path in plain.iterdir()) == [f"{name}.parquet" for name in TABLES]


def test_the_tables_have_the_documented_columns(plain: Path) -> None:
    found = {name: [(row[0], row[1]) for row in query(plain, f"DESCRIBE {name}")] for name in TABLES}
    assert found == {
        "customers": [("customer_id", "VARCHAR"), ("plan", "VARCHAR"), ("region", "VARCHAR"), ("joined", "BIGINT")],
        "events": [
            ("customer_id", "VARCHAR"),
            ("ts", "BIGINT"),
            ("seen_ts", "BIGINT"),
            ("kind", "VARCHAR"),
            ("amount", "DOUBLE"),
        ],
        "labels": [
            ("customer_id", "VARCHAR"),
            ("ts", "BIGINT"),
            ("discount", "DOUBLE"),
            ("churned", "BOOLEAN"),
            ("seen_ts", "BIGINT"),
        ],
    }


def test_keys_are_unique_and_every_row_belongs_to_a_customer(plain: Path) -> None:
    assert number(plain, "SELECT count(DISTINCT customer_id) FROM customers") == 2000
    assert number(plain, "SELECT max(n) FROM (SELECT count(*) AS n FROM labels GROUP BY customer_id, ts)") == 1
    for name in ("events", "labels"):
        assert number(plain, f"SELECT count(*) FROM {name} ANTI JOIN customers USING (customer_id)") == 0


def test_a_label_becomes_known_thirty_days_after_its_time(plain: Path) -> None:
    assert query(plain, "SELECT DISTINCT seen_ts - ts FROM labels") == [(30 * 86_400,)]


def test_nothing_was_seen_after_the_end(plain: Path) -> None:
    assert datetime(2026, 1, 1, tzinfo=UTC).timestamp() == sample.END
    for name in ("events", "labels"):
        assert number(plain, f"SELECT max(seen_ts) FROM {name}") < sample.END


def test_labels_are_at_the_first_midnight_of_eighteen_months(plain: Path) -> None:
    times = [datetime.fromtimestamp(ts, UTC) for (ts,) in query(plain, "SELECT DISTINCT ts FROM labels ORDER BY ts")]
    assert len(times) == 18
    assert {(each.day, each.hour, each.minute, each.second) for each in times} == {(1, 0, 0, 0)}


def test_exactly_the_current_customers_have_labels(plain: Path) -> None:
    difference = """
        WITH there AS (
            SELECT q.ts, c.customer_id FROM (SELECT DISTINCT ts FROM labels) AS q, customers AS c
            WHERE c.joined < q.ts AND NOT EXISTS (
                SELECT 1 FROM events AS e WHERE e.customer_id = c.customer_id AND e.kind = 'cancel' AND e.ts <= q.ts)
        )
        SELECT count(*) FROM there FULL JOIN labels USING (customer_id, ts)
        WHERE there.customer_id IS NULL OR labels.customer_id IS NULL
    """
    # USING merges the two keys, so the sides are distinguished by name.
    assert number(plain, difference) == 0


def test_a_label_is_true_if_a_cancellation_followed_within_thirty_days(plain: Path) -> None:
    wrong = """
        SELECT count(*) FROM labels AS l WHERE churned <> EXISTS (
            SELECT 1 FROM events AS e WHERE e.customer_id = l.customer_id AND e.kind = 'cancel'
            AND e.ts > l.ts AND e.ts <= l.ts + 30 * 86400)
    """
    assert number(plain, wrong) == 0


def test_a_former_customer_has_no_events(plain: Path) -> None:
    after = """
        SELECT count(*) FROM events AS e JOIN events AS gone USING (customer_id)
        WHERE gone.kind = 'cancel' AND e.kind <> 'cancel' AND e.ts >= gone.ts
    """
    assert number(plain, after) == 0


def test_a_few_events_arrive_up_to_two_days_late(plain: Path) -> None:
    late, longest, earliest = query(
        plain, "SELECT avg(CASE WHEN seen_ts > ts THEN 1 ELSE 0 END), max(seen_ts - ts), min(seen_ts - ts) FROM events"
    )[0]
    assert 0.015 < late < 0.025
    assert 86_400 < longest <= 2 * 86_400
    assert earliest == 0


def test_only_purchases_have_an_amount(plain: Path) -> None:
    assert query(plain, "SELECT DISTINCT kind FROM events WHERE amount IS NOT NULL") == [("purchase",)]
    assert number(plain, "SELECT min(amount) FROM events") > 0
    assert number(plain, "SELECT count(*) FROM events WHERE kind = 'purchase' AND amount IS NULL") == 0


def test_the_churn_rate_is_plausible(plain: Path) -> None:
    assert 0.10 < number(plain, "SELECT avg(churned::INT) FROM labels") < 0.15


def test_purchases_peak_in_winter(plain: Path) -> None:
    spent = dict(
        query(
            plain,
            """
            SELECT strftime(make_timestamp(ts * 1000000), '%Y-%m') AS month, sum(amount) / count(DISTINCT customer_id)
            FROM events GROUP BY month
            """,
        )
    )
    assert spent["2024-12"] > 1.1 * spent["2024-07"]
    assert spent["2025-12"] > 1.1 * spent["2025-07"]


def test_churn_peaks_in_summer(plain: Path) -> None:
    rate = dict(
        query(plain, "SELECT month(make_timestamp(ts * 1000000)) AS m, avg(churned::INT) FROM labels GROUP BY m")
    )
    assert rate[7] + rate[8] > 1.2 * (rate[1] + rate[2])


def test_discounts_lower_churn_and_complaints_raise_it(plain: Path) -> None:
    rate = dict(query(plain, "SELECT discount >= 15 AS much, avg(churned::INT) FROM labels GROUP BY much"))
    assert rate[True] < 0.75 * rate[False]
    complained = """
        SELECT EXISTS (SELECT 1 FROM events AS e WHERE e.customer_id = l.customer_id AND e.kind = 'complaint'
            AND e.ts BETWEEN l.ts - 90 * 86400 AND l.ts - 1) AS complained, avg(churned::INT)
        FROM labels AS l GROUP BY complained
    """
    rate = dict(query(plain, complained))
    assert rate[True] > 1.3 * rate[False]


@pytest.mark.parametrize("name", TABLES)
def test_the_drift_switch_changes_nothing_before_the_last_quarter(plain: Path, shifted: Path, name: str) -> None:
    before = f"FROM {name} WHERE {TIMES[name]} < {sample.LAST_QUARTER}"
    assert query(plain, before) == query(shifted, before)


def test_the_drift_switch_changes_plans_prices_and_behaviour_in_the_last_quarter(plain: Path, shifted: Path) -> None:
    def of(folder: Path) -> tuple[float, float, float, float]:
        since = f"ts >= {sample.LAST_QUARTER}"
        return (
            number(folder, f"SELECT avg((plan = 'basic')::INT) FROM customers WHERE joined >= {sample.LAST_QUARTER}"),
            number(
                folder,
                f"SELECT median(amount) FROM events JOIN customers USING (customer_id) "
                f"WHERE plan = 'family' AND {since}",
            ),
            number(folder, f"SELECT avg((kind = 'visit')::INT) FROM events WHERE {since}"),
            number(folder, f"SELECT avg((kind = 'complaint')::INT) FROM events WHERE {since}"),
        )

    (basic, price, visits, complaints), (basic_, price_, visits_, complaints_) = of(plain), of(shifted)
    assert basic_ > basic + 0.2
    assert price_ > 1.15 * price
    assert visits_ < visits - 0.05
    assert complaints_ > 1.5 * complaints


def test_boosting_beats_a_linear_model(plain: Path, tmp_path: Path) -> None:
    contract, features_sql = team.load_contract()
    churn = team.Team("churn", contract, features_sql, data, estimator)
    metrics = train(churn, Settings(storage=tmp_path, data=plain), root=tmp_path).facts["metrics"]
    assert metrics["candidate"]["roc_auc"] > metrics["linear"]["roc_auc"] + 0.05
    assert metrics["linear"]["roc_auc"] > 0.65
    # A higher value would mean that the features contain information from the future.
    assert metrics["candidate"]["roc_auc"] < 0.9


def test_writing_takes_less_than_three_seconds_of_cpu_time(tmp_path: Path) -> None:
    start = process_time()
    write(tmp_path)
    assert process_time() - start < 3
