"""Files are read as their columns are declared: a value is typed, null as declared, or an error that names it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract import reader, tables
from lifecycle.contract.reader import Boolean, Number, Table, Text, Time
from lifecycle.errors import LifecycleError, NotHere

MOSCOW = "\u041c\u043e\u0441\u043a\u0432\u0430"
GERMAN = Number(thousands=".", decimal=",", affixes=("€", "EUR"))


def value(how: Text, given: Any, sql_type: str = "VARCHAR") -> Any:
    with tables.connect() as connection:
        return connection.execute(f"SELECT {how.value('$1', sql_type)}", [given]).fetchall()[0][0]


@pytest.mark.parametrize(
    ("how", "given", "expected"),
    [
        (Number(), " 1.5 ", 1.5),
        (Number(), "1e3", 1000.0),
        (GERMAN, "1.234,50 €", 1234.5),
        (GERMAN, "EUR 12.500", 12500.0),
        (GERMAN, "-3,5", -3.5),
        (Number(thousands=","), "48,64,094", 4864094.0),
        (Number(thousands=" '"), "1 234'567.5", 1234567.5),
        (Number(accounting=True, affixes=("$",)), "($5.00)", -5.0),
        (Number(accounting=True), "12-", -12.0),
        (Number(accounting=True), "\u22122.64", -2.64),
        (Number(factors={"k": 1000.0, "%": 0.01}), "1.2k", 1200.0),
        (Number(factors={"k": 1000.0, "%": 0.01}), "45%", 0.45),
        (Number(factors={"k": 1000.0, "%": 0.01}), "0.45", 0.45),
        (Number(whole=True), "3.0", 3),
        (Number(whole=True), "123456789012345678", 123456789012345678),
        (Boolean(), "YES", True),
        (Boolean(true=("ja",), false=("nein",)), "Nein", False),
        (Time(), "2023-01-05 12:34:56.5 UTC", datetime(2023, 1, 5, 12, 34, 56, 500000)),
        (Time(), "2023-03-02 20:09:00 CEST", datetime(2023, 3, 2, 18, 9)),
        (Time(), "2023-03-02T20:09:00+02:00", datetime(2023, 3, 2, 18, 9)),
        (Time(formats=("%Y%m%d",)), "20230115", datetime(2023, 1, 15)),
        (Time(formats=("%d.%m.%Y", "%Y-%m-%d")), "2023-02-01", datetime(2023, 2, 1)),
        (Time(unit="ms"), "1677787740000", datetime(2023, 3, 2, 20, 9)),
        (Time(unit="s"), "1677787740.75", datetime(2023, 3, 2, 20, 9, 0, 750000)),
        (Text(), "  Public", "Public"),
        (Text(strip=False), "  Public", "  Public"),
        (Text(same={"YES": "yes"}), "YES", "yes"),
    ],
)
def test_a_value_is_read_as_declared(how: Text, given: str, expected: Any) -> None:
    assert value(how, given) == expected
    assert type(value(how, given)) is type(expected)


@pytest.mark.parametrize(
    ("how", "given"),
    [
        (Number(), "1,5"),
        (Number(), "1e999"),
        (GERMAN, "1.2.3"),
        (GERMAN, "3 USD"),
        (Number(thousands=","), "1,23"),
        (Number(whole=True), "3.5"),
        (Number(accounting=True), "(5"),
        (Number(accounting=True), "5)"),
        (Boolean(), "maybe"),
        (Time(), "2023-02-30"),
        (Time(), "9999-12-31"),
        (Time(formats=("%d/%m/%Y",)), "01/13/2023"),
    ],
)
def test_another_value_is_invalid_and_its_error_names_column_and_value(how: Text, given: str) -> None:
    assert value(how, given) is None
    sql = f"SELECT {how.value('$1', 'VARCHAR', '`x` in t.csv')}"
    with (
        tables.connect() as connection,
        pytest.raises(LifecycleError, match=r"`x` in t\.csv is not ") as caught,
        tables.explain_sql_errors("reading"),
    ):
        connection.execute(sql, [given]).fetchall()
    assert caught.value.problem.endswith(given)
    assert "`missing`" in caught.value.hint


@pytest.mark.parametrize("how", [Number(), Number(whole=True), GERMAN, Boolean(), Time()])
@pytest.mark.parametrize("word", ["", "  ", "NA", "null", "-", "#REF!", "NaN", "\\N"])
def test_a_usual_word_for_null_is_null_without_a_declaration(how: Text, word: str) -> None:
    with tables.connect() as connection:
        sql = f"SELECT {how.value('$1', 'VARCHAR', 'x')}, {how.is_given('$1')}"
        assert connection.execute(sql, [word]).fetchall() == [(None, False)]


def test_a_text_is_null_only_if_it_is_empty_or_declared() -> None:
    assert value(Text(), "NA") == "NA"
    assert value(Text(missing=("NA",)), "NA") is None
    assert value(Number(missing=("999",)), "999") is None


@pytest.mark.parametrize(
    ("how", "given", "sql_type", "expected"),
    [
        (Number(), 2, "BIGINT", 2.0),
        (Number(), float("inf"), "DOUBLE", None),
        (Number(whole=True), 3.0, "DOUBLE", 3),
        (Number(whole=True), 3.5, "DOUBLE", None),
        (Number(whole=True), 2**60 + 1, "BIGINT", 2**60 + 1),
        (Time(), datetime(2023, 1, 5), "TIMESTAMP", datetime(2023, 1, 5)),
        (Time(formats=("%Y%m%d",)), 20230115, "BIGINT", datetime(2023, 1, 15)),
        (Boolean(), True, "BOOLEAN", True),
        (Boolean(), 1, "BIGINT", True),
        (Boolean(), 1.0, "DOUBLE", True),
        (Boolean(), 0.5, "DOUBLE", None),
        (Number(whole=True), 2**70, "HUGEINT", None),
        (Time(unit="ms"), datetime(2023, 1, 5), "TIMESTAMP", datetime(2023, 1, 5)),
        (Text(), 7, "BIGINT", "7"),
    ],
)
def test_a_typed_column_is_read_by_the_same_declaration(how: Text, given: Any, sql_type: str, expected: Any) -> None:
    assert value(how, given, sql_type) == expected


def read(folder: Path, table: Table) -> list[Any]:
    with tables.connect() as connection:
        table.register(connection, folder)
        return connection.execute("FROM source").fetchall()


def test_a_file_is_a_view_of_typed_columns_under_the_names_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('Customers\n\nName;"Price ($)";x\n Ann ;1.200,5;1\n', encoding="utf-8")
    columns = {"name": Text(header="Name"), "price": Number(header="Price ($)", thousands=".", decimal=",")}
    assert read(tmp_path, Table("t.csv", columns, separator=";", skip=2)) == [("Ann", 1200.5)]


def test_a_missing_file_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotHere, match=r"t\.csv is missing"):
        read(tmp_path, Table("t.csv", {"a": Text()}))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LifecycleError, match=r"t.csv lacks the columns C, d"):
        read(tmp_path, Table("t.csv", {"a": Text(), "c": Text(header="C"), "d": Text()}))


@pytest.mark.parametrize(
    "encoding", ["cp1251", "cp1252", "latin-1", "utf-16", "shift_jis", "UTF-8", "utf8", "utf-8-sig"]
)
def test_a_file_is_read_in_the_declared_encoding(tmp_path: Path, encoding: str) -> None:
    word = {"cp1251": MOSCOW, "shift_jis": "福岡"}.get(encoding, "Köln")
    (tmp_path / "t.csv").write_bytes(f"a,b\n{word},1\n".encode(encoding))
    assert read(tmp_path, Table("t.csv", {"a": Text()}, encoding=encoding)) == [(word,)]


@pytest.mark.parametrize("encoding", ["cp1251", "cp1252", "latin-1"])
def test_a_file_in_utf_8_is_never_read_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(f"a,b\n{MOSCOW},1\n".encode())
    with pytest.raises(LifecycleError, match=f"not in the (declared )?encoding {encoding}"):
        read(tmp_path, Table("t.csv", {"a": Text()}, encoding=encoding))
    (tmp_path / "u.csv").write_bytes(f"a,b\n{MOSCOW},1\n".encode("cp1251"))
    with pytest.raises(Exception, match=r"(?i)utf-8|unicode"):
        read(tmp_path, Table("u.csv", {"a": Text()}))


def test_an_unknown_encoding_and_a_letter_at_the_very_end_are_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a\ncaf\u00e9".encode("cp1252"))
    assert read(tmp_path, Table("t.csv", {"a": Text()}, encoding="cp1252")) == [("caf\u00e9",)]
    with pytest.raises(LifecycleError, match="cp1253x is not an encoding"):
        read(tmp_path, Table("t.csv", {"a": Text()}, encoding="cp1253x"))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    table = Table("t.csv", {"a": Text()}, encoding="cp1252")
    for word in ("Köln", "Ulm"):
        (tmp_path / "t.csv").write_bytes(f"a,b\n{word},1\n".encode("cp1252"))
        assert read(tmp_path, table) == [(word,)]


def test_only_a_file_with_the_declared_columns_is_read_as_declared(tmp_path: Path) -> None:
    table = Table("t.csv", {"a": Number(decimal=","), "b": Text()}, separator=";")
    with tables.connect() as connection:
        for text, declared in (("a;b\n1,5;x\n", table.columns), ("a,b\n1.5,x\n", {})):
            (tmp_path / "own.csv").write_text(text)
            assert reader.open_rows(connection, tmp_path / "own.csv", "own", table, ["a", "b"]) == declared
            assert tables.describe(connection, "FROM own") == {"a": "VARCHAR", "b": "VARCHAR"}


@pytest.mark.parametrize("options", [{"encoding": "cp1252"}, {"skip": 5}])
def test_a_file_of_other_columns_need_not_have_the_declared_form(tmp_path: Path, options: dict[str, Any]) -> None:
    table = Table("t.csv", {"churned": Text()}, **options)
    (tmp_path / "own.csv").write_text("request_id,label\nr1,Köln\n", encoding="utf-8")
    with tables.connect() as connection:
        assert reader.open_rows(connection, tmp_path / "own.csv", "own", table, ["churned"]) == {}
        assert connection.execute("FROM own").fetchall() == [("r1", "Köln")]
