"""`make graduate` names the SQL or scikit-learn step of each learned expression, compared on the golden rows."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.graduate import _aggregate, compared
from looseleaf.lift import repository
from support.notebooks import MEAN, PREDICT, READ, SEX
from support.rendering import ROOT, SOURCES, run, tool

KINDS = """df = df[df["fare"] < 500]
rates = df.groupby("port")["survived"].mean()
df["rate"] = df["port"].map(rates)
df["code"] = pd.factorize(df["port"])[0]
df["again"] = df["port"].astype("category").cat.codes
df["band"] = pd.qcut(df["fare"], 4, labels=False)
df["width"] = pd.cut(df["fare"], 3, labels=False)
df["stated"] = pd.cut(df["fare"], [-1, 10, 600], labels=False)
df["largest"] = df["fare"] / df["fare"].quantile(0.9)
df["usual"] = df["port"] == df["port"].mode()[0]
df["peers"] = df.groupby(["port", "sex"])["fare"].transform("mean")
df["large"] = df["fare"].where(df["fare"] > 10)
df["large"] = df.groupby("sex")["large"].transform(lambda fares: fares.fillna(fares.median()))
df["skew"] = df["fare"] / df["fare"].skew()
df = pd.get_dummies(df, columns=["port"])
from sklearn.preprocessing import StandardScaler
scaler = StandardScaler()
X = df.drop(columns=["survived", "name", "cabin"])
X[["age", "fare"]] = scaler.fit_transform(X[["age", "fare"]])"""
FIT = """from sklearn.model_selection import train_test_split, GridSearchCV
from sklearn.linear_model import LogisticRegression
X_train, X_test, y_train, y_test = train_test_split(X, df["survived"], random_state=0)
model = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.5, 2.0]})
model.fit(X_train, y_train)"""
EQUAL = "equal on 40 rows"
NO_STEP = "no replacement is known, keep the line"
NONE = f"{NO_STEP} (it is neither a fit nor an aggregate of one column)"
EXPECTED = {
    'lambda: df["age"].mean()': ['SQL: SELECT avg("age") FROM df', EQUAL],
    'lambda: df.groupby("port")["survived"].mean()': [
        'SQL: SELECT "port", avg("survived") FROM df GROUP BY ALL',
        EQUAL,
    ],
    "learned.factorize(": ["scikit-learn: OrdinalEncoder(categories=[['S', ", EQUAL],
    "learned.category(": ["scikit-learn: OrdinalEncoder(categories=[['C', 'Q', 'S']]", EQUAL],
    "function=pd.qcut": ['SQL: SELECT quantile_cont("fare", [0.0, 0.25, 0.5, 0.75, 1.0]) FROM df', EQUAL],
    'learned.cut("cut_fare",': ["SQL: SELECT [low + (high - low) * (CASE i WHEN 0 THEN -0.001 ELSE i / 3 END)", EQUAL],
    'learned.cut("cut_fare_2",': [f"{NO_STEP} (the line states the edges, so that nothing is learned)"],
    '["fare"], "mean")': ['SQL: SELECT "port", "sex", avg("fare") FROM df GROUP BY ALL', EQUAL],
    "lambda fares:": ['SQL: SELECT "sex", median("large") FROM df GROUP BY ALL', EQUAL],
    'df["port"].mode()[0]': ['SQL: SELECT "port" FROM df WHERE "port" IS NOT NULL GROUP BY "port" ORDER BY', EQUAL],
    'df["fare"].skew()': [NONE],
    "learned.get_dummies(": ["scikit-learn: OneHotEncoder(categories=[['C', 'Q', 'S']]", EQUAL],
    "learned.fit_transform(": ["scikit-learn: StandardScaler()", EQUAL],
    "lambda: model.fit(": ["scikit-learn: LogisticRegression(C=0.5, max_iter=1000)", EQUAL],
    'df["fare"].quantile(0.9)': ['SQL: SELECT quantile_cont("fare", 0.9) FROM df', EQUAL],
}


@pytest.fixture
def lifted(lift, render: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a repository with a lifted notebook that learns every kind of value."""
    root = tmp_path / "repository"
    subprocess.run(["cp", "-r", str(render()), str(root)], check=True)
    (root / ".venv").symlink_to(ROOT / ".venv")
    result = lift(READ, MEAN, SEX, KINDS, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    repository.write(root, result, "", lambda _: True)
    return root


def test_each_learned_expression_has_a_step_that_was_compared_or_none(lifted: Path) -> None:
    start = [tool("python"), "-c"]
    done = run(*start, "from looseleaf.cli import main; main(['graduate'])", folder=lifted, PYTHONPATH=SOURCES)
    assert done.returncode == 0, done.stdout
    found = {block.splitlines()[0]: block.splitlines()[1:] for block in done.stdout.strip().split("\n\n")}
    for line, (step, *verdict) in EXPECTED.items():
        [lines] = [lines for name, lines in found.items() if line in name]
        assert lines[0].strip().startswith(step), done.stdout
        assert [each.strip() for each in lines[1:]] == verdict, done.stdout
    assert len(found) == len(EXPECTED)
    wrong = "from pathlib import Path; from looseleaf import graduate; graduate.SQL['mean'] = 'max({})'; "
    done = run(*start, f"{wrong}graduate.run(Path.cwd())", folder=lifted, PYTHONPATH=SOURCES)
    assert 'SQL: SELECT max("age") FROM df\n  differs in row ' in done.stdout


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("df['fare'].skew()", "neither a fit nor an aggregate"),
        ("df['fare'].mean(2)", "neither a fit nor an aggregate"),
        ("df['fare'].quantile()", "neither a fit nor an aggregate"),
        ("df.groupby('port')['fare'].mode()[0]", "decides ties as pandas does"),
    ],
)
def test_an_expression_without_a_counterpart_in_sql_is_named_as_such(expression: str, reason: str) -> None:
    with pytest.raises(LookupError, match=reason):
        _aggregate(expression, None)


def test_the_first_difference_is_named() -> None:
    assert compared([1.0, None], [1, float("nan")]) == "equal on 2 rows"
    assert compared([["a", "b"], ["a", "c"]], [["a", "b"], ["a", "d"]]) == "differs in row 2: d instead of c"


def test_a_repository_without_a_lift_gets_an_error_with_the_command_to_run(render: Callable[..., Path]) -> None:
    done = run(
        tool("python"), "-c", "from looseleaf.cli import main; raise SystemExit(main(['graduate']))",
        folder=render(), PYTHONPATH=SOURCES,
    )  # fmt: skip
    assert done.returncode == 1
    assert "tests/lifted.json is missing" in done.stdout
    assert "make lift NOTEBOOK=FILE" in done.stdout
