"""Files that cannot be read are rejected with place and hint; dialects and encodings are detected."""

import gzip
from pathlib import Path

import pytest

from lifecycle.errors import LifecycleError
from looseleaf.contract import source as sources
from looseleaf.contract.source import open_source
from support.inference import connect, infer

GOOD = "a,b,label\n" + "".join(f"{at}.5,{at % 7},{'xy'[at % 2]}\n" for at in range(60))
REFUSED: dict[str, tuple[str, bytes, str, str]] = {
    "empty": ("t.csv", b"", "is empty", "a line of names"),
    "no line": ("t.csv", b"\n\n", "has no line", "a line of names"),
    "no rows": ("t.csv", b"a,b,label\n", "has names and no rows", "labelled rows"),
    "too many values": ("t.csv", GOOD.replace("5.5,5,y", "5.5,5,y,9").encode(), "line 7: 4 values", "Fix that line"),
    "too few values": ("t.csv", GOOD.replace("5.5,5,y", "5.5,5").encode(), "line 7: 2 values", "Fix that line"),
    "open quote": ("t.csv", GOOD.replace("5.5,5,y", '5.5,"5,y').encode(), "line 7: a double quote", "Close it"),
    "two encodings": (
        "t.csv",
        GOOD.replace(".5,0,x", ".5,0,Köln").encode() + b"1,2,J\xfcrg\n",
        "line 62:",
        "two encod",
    ),
    "zero bytes": ("t.csv", GOOD.encode() + b"1,2,\0\n", "line 62: a zero byte", "Parquet"),
    "no names": ("t.csv", GOOD.replace("a,b,label\n", "").encode(), "where names are expected", "first line"),
    "no label": ("t.csv", GOOD.replace("label", "Lable").encode(), "no column 'label'", "Similar: Lable"),
    "only the label": ("t.csv", b"label\nx\ny\n", "has only the label", "columns to learn from"),
    "one class": ("t.csv", GOOD.replace("y\n", "x\n").encode(), "'x' in all 60 rows", "every class"),
    "one row": ("t.csv", b"a,label\n1,x\n", "'x' in all 1 rows", "every class"),
    "one number": ("t.csv", b"a,label\n" + b"1,7.25\n2,7.25\n" * 9, "'7.25' in all 18 rows", "every class"),
    "no label at all": ("t.csv", GOOD.replace("x\n", "\n").replace("y\n", "\n").encode(), "is empty", "a label"),
    "a date": ("t.csv", GOOD.replace("x\n", "2020-01-01\n").replace("y\n", "2021-01-01\n").encode(), "a date", "days"),
    "names as label": (
        "t.csv",
        b"a,label\n" + b"".join(b"%d,n%d\n" % (i, i) for i in range(200)),
        "200 differ",
        "group",
    ),
    "Excel": ("t.xlsx", b"PK\x03\x04....", "is a spreadsheet", "Save the sheet as CSV"),
    "Excel by another name": ("t.csv", b"\xd0\xcf\x11\xe0....", "is a spreadsheet", "Save the sheet as CSV"),
    "JSON": ("t.json", b"[]", "is not a table", "Export"),
    "pickle": ("t.pkl", b"\x80\x04N.", "is a pickle", "Export"),
    "broken Parquet": ("t.parquet", b"PAR1....PAR1", "is not valid Parquet", "Write it again"),
    "broken gzip": ("t.csv.gz", gzip.compress(GOOD.encode())[:60], "cannot be unpacked", "Pack it again"),
    "endless line": ("t.csv", GOOD.encode() + b'"' + b"z" * 3_000_000 + b'"\n', "longer than 2 MB", "quote"),
    "a web page": ("t.csv", b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "no column 'label'", "It has"),
}


@pytest.mark.parametrize("defect", REFUSED)
def test_a_file_that_cannot_be_read_is_rejected_with_place_and_hint(tmp_path: Path, defect: str) -> None:
    name, content, problem, hint = REFUSED[defect]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LifecycleError) as refused:
        infer(path, "label")
    assert problem in refused.value.problem
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("https://example.org/t.csv", "an address"),
        ("s3://b/t.parquet", "an address"),
        (".", "a folder"),
        ("no", "exist"),
    ],
)
def test_what_is_not_a_file_is_rejected(
    tmp_path: Path, given: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LifecycleError, match=problem):
        open_source(given, connect())


def test_no_value_of_a_malformed_line_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD.replace("5.5,5,y", "5.5,secret,y,9"))
    with pytest.raises(LifecycleError) as refused:
        infer(path, "label")
    assert "secret" not in str(refused.value)


def test_a_file_larger_than_the_free_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD)
    found = open_source(str(path), connect())
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _: sources.shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(LifecycleError, match="free"):
        sources.refuse_larger_than_disk(found, tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", ("\ufeff" + GOOD).encode()),
        ("t.csv", GOOD.encode("utf-16")),
        ("t.csv", GOOD.replace(",", ";").replace(".5;", ",5;").encode()),
        ("t.tsv", GOOD.replace(",", "\t").encode()),
        ("t.csv", GOOD.replace("\n", "\r\n").encode()),
        ("t.csv", GOOD.replace(",", " ,  ").encode()),
        ("t.csv.gz", gzip.compress(GOOD.encode())),
        ("t.csv", GOOD.replace("y\n", "Jürg\n").encode("latin-1")),
        ("t.csv", GOOD.replace("y\n", "€\n").encode("cp1252")),
        ("t.txt", GOOD.replace(",", "|").encode()),
    ],
    ids=["BOM", "UTF-16", "semicolons", "tabs", "CRLF", "blanks", "gzip", "Latin-1", "cp1252", "bars"],
)
def test_dialect_and_encoding_are_found(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    made = infer(path, "label")
    assert made.inputs["b"] == "integer"
    assert (made.rows, len(made.contract.target.classes)) == (60, 2)
