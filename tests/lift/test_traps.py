"""What breaks notebooks: cells that fail, names from other cells, several files, rows that depend on other rows."""

import ast
from pathlib import Path

import pytest

from lifecycle.errors import LifecycleError
from looseleaf.lift.emit import emit
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT


def test_cells_outside_of_the_prediction_may_fail_and_are_left_out(lift) -> None:
    result = lift(
        READ, "from nowhere import plots", MEAN, "df.plot(kind='bar')\n1 / 0", SEX, SPLIT, FIT, PREDICT, "input()"
    )
    assert result.is_verified, result.checks
    assert "nowhere" not in result.lifted.text
    assert "plot" not in result.lifted.text


@pytest.mark.parametrize(
    ("line", "problem", "hint"),
    [
        ("from sklearn.externals import joblib\ndf = joblib.load(df)", "cell 3 fails", "scikit-learn<0.23"),
        ("df = df.append(df)", "cell 3 fails", "pandas<2"),
        ("df['age'] = int(input('age?'))", "cell 3 fails", "instead of input()"),
        ("df = df.loc[ages]", "cell 3 fails", "deleted or runs later"),
        ("df = pd.read_csv('missing.csv')", "cell 3 fails", "--data (DATA=)"),
    ],
)
def test_a_cell_that_the_prediction_needs_is_named_with_what_to_do(line: str, problem: str, hint: str, lift) -> None:
    with pytest.raises(LifecycleError, match=problem) as raised:
        lift(READ, SEX, line, MEAN, SPLIT, FIT, PREDICT)
    assert hint in str(raised.value)


def test_a_row_that_depends_on_other_rows_is_refused_with_its_line(lift) -> None:
    split = SPLIT.replace('"sex"]', '"sex", "before"]')
    with pytest.raises(
        LifecycleError, match=r"cell 4 computes a row from other rows: df\[\"fare\"\].shift\(1\)"
    ) as raised:
        lift(READ, MEAN, SEX, 'df["before"] = df["fare"].shift(1)\ndf = df.fillna(0)', split, FIT, PREDICT)
    assert "features.sql" in str(raised.value)


def test_rows_of_a_group_that_get_different_values_are_named(lift) -> None:
    scaled = 'df["fare"] = df.groupby("port")["fare"].transform(lambda fare: fare / fare.max())'
    result = lift(READ, MEAN, SEX, scaled, SPLIT, FIT, PREDICT)
    assert "merge a table with a value for each group, in the line: df[" in result.checks["parities"]["slice"]["error"]


def test_random_numbers_for_rows_are_named_with_their_cell_and_the_way_on(lift) -> None:
    noise = 'import numpy as np\ndf["age"] = np.random.uniform(1, 80, len(df))'
    result = lift(READ, noise, SEX, SPLIT, FIT, PREDICT)
    error = result.checks["parities"]["batch"]["error"]
    assert "0 of 60 rows are equal; the first that differs is number 1, [" in error
    assert "because column age of the model's input is " in error
    assert "cell 2 draws random numbers for the rows: np.random.uniform(1, 80, len(df)). A single row" in error


def test_the_label_is_found_after_it_was_deleted_from_the_table(lift) -> None:
    delete = 'df["survived"] = df["survived"].map({0: -1.5, 1: 2.5})\nparts = train_test_split(df, random_state=0)\n'
    delete += 'y = parts[0]["survived"].values\nfor part in parts:\n    del part["survived"]'
    fit = """X = [part[["age", "fare", "sex"]].to_numpy() for part in parts]
from sklearn.linear_model import LinearRegression
model = LinearRegression().fit(X[0], y)"""
    split = "from sklearn.model_selection import train_test_split"
    result = lift(READ, MEAN, SEX, split, delete, fit, "model.predict(X[1])")
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["label"] == "survived"


def test_a_score_around_the_prediction_is_not_in_its_way(lift) -> None:
    score = """from sklearn.metrics import roc_auc_score
def evaluate(model, X, y):
    return roc_auc_score(y, model.predict_proba(X)[:, 1])
best = evaluate(model, X_test, y_test)"""
    result = lift(READ, MEAN, SEX, 'df = df[df["survived"].notna()]', SPLIT, FIT, score)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'learned.scored("' in result.lifted.text


def test_a_table_of_the_network_is_named_with_what_to_do(lift) -> None:
    with pytest.raises(LifecycleError, match=r"cell 1 fails: URLError.*\n.*name it with --data"):
        lift('import pandas as pd\ndf = pd.read_csv("https://missing.invalid/a.csv")', MEAN, SEX, SPLIT, FIT, PREDICT)


def test_a_notebook_that_never_predicts_is_refused(lift) -> None:
    with pytest.raises(LifecycleError, match=r"never calls predict\(\)"):
        lift(READ, MEAN, SEX, SPLIT, FIT)


def test_a_second_table_is_kept_as_a_learned_one(lift, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "ports.csv").write_text("port,distance\nC,1\nQ,2\nS,3\n")
    join = 'ports = pd.read_csv("ports.csv")\ndf = df.merge(ports, on="port", how="left")'
    result = lift(READ, MEAN, SEX, join, SPLIT.replace('"sex"]', '"sex", "distance"]'), FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'learned("' in result.lifted.text
    assert 'pd.read_csv("ports.csv")' in result.lifted.text


def test_a_model_on_arrays_without_names_is_lifted(lift) -> None:
    split = SPLIT.replace('[["age", "fare", "sex"]]', '[["age", "fare", "sex"]].values').replace(
        '["survived"]', '["survived"].values'
    )
    scaled = """from sklearn.preprocessing import StandardScaler
scaler = StandardScaler()
X_train = scaler.fit_transform(X_train)
X_test = scaler.transform(X_test)"""
    result = lift(READ, MEAN, SEX, split, scaled, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'scaler = learned("scaler", lambda: scaler)' in result.lifted.text
    assert result.checks["label"] == "survived"


def test_functions_of_the_notebook_are_carried_over_unchanged(lift) -> None:
    functions = """from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
columns = ["age", "sex", "port"]

def train(table, y, C=1.0):
    rows = table[columns].to_dict(orient="records")
    vectorizer = DictVectorizer(sparse=False)
    X = vectorizer.fit_transform(rows)
    model = LogisticRegression(C=C, max_iter=1000)
    model.fit(X, y)
    return vectorizer, model

def predict(table, vectorizer, model):
    X = vectorizer.transform(table[columns].to_dict(orient="records"))
    return model.predict_proba(X)[:, 1]
"""
    split = "from sklearn.model_selection import train_test_split\nfull, test = train_test_split(df, random_state=1)"
    result = lift(
        READ, MEAN, functions, split, "v, m = train(full, full.survived.values, C=0.5)", "p = predict(test, v, m)"
    )
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "v, m = train(full, full.survived.values, C=0.5)" in result.lifted.text
    assert 'm = learned("m", lambda: m)' in result.lifted.text


def test_a_list_of_tables_is_not_kept(lift) -> None:
    loop = 'tables = [df]\nfor table in tables:\n    table["fare"] = table["fare"].round()'
    result = lift(READ, MEAN, SEX, loop, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "    tables = [df]\n" in result.lifted.text


def test_the_result_of_a_search_is_kept_and_the_search_runs_only_in_training(lift) -> None:
    search = """from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
grid = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [2, 3]})
grid.fit(X_train, y_train)
best = grid.best_estimator_"""
    result = lift(READ, MEAN, SEX, SPLIT, search, "best.predict(X_test)")
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'grid = learned("grid", lambda: grid.fit(X_train, y_train))' in result.lifted.text


def test_an_endless_cell_is_stopped_at_its_limit_and_named(lift) -> None:
    # On a slow machine, an earlier cell may reach the limit as well.
    with pytest.raises(LifecycleError, match=r"cell . fails, and the prediction needs it: CellTimeout") as raised:
        lift(READ, "while True:\n    df = df.copy()", SEX, MEAN, SPLIT, FIT, PREDICT, seconds=1)
    assert "--seconds N (SECONDS=N)" in str(raised.value)
    assert "starts again at the first cell" in str(raised.value)


def test_an_output_of_200_megabytes_is_not_kept(lift) -> None:
    printed = 'import sys\nfor _ in range(2000):\n    print("x" * 100_000)\n    sys.stderr.write("x" * 1000)'
    result = lift(READ, MEAN, printed, SEX, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "print" not in result.lifted.text


def test_a_saved_model_is_preferred_to_a_later_one(lift) -> None:
    other = """from sklearn.dummy import DummyClassifier
other = DummyClassifier().fit(X_train, y_train)
other.predict(X_test)"""
    saved = 'import pickle\npickle.dump(model, open("model.pkl", "wb"))'
    result = lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT, saved, other)
    assert result.prediction["model"] == "LogisticRegression"
    assert lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT, other).prediction["model"] == "DummyClassifier"
    assert lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT, other, model="model").prediction["model"] == "LogisticRegression"


def test_a_name_of_a_notebook_cannot_add_code(lift, tmp_path: Path) -> None:
    name = 'a"""\nraise SystemExit\n"""\\.ipynb'
    trace = lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    text = emit(trace.trace, trace.plan, trace.prediction, name).text
    assert ast.get_docstring(ast.parse(text)) is not None
    assert "SystemExit" in text.splitlines()[0]


def test_the_lines_of_a_string_are_not_indented(lift) -> None:
    words = 'words = """first\nlast"""; scale = len(words)\ndf["fare"] = df["fare"] + scale + len(f"""{scale}\n""")'
    result = lift(READ, MEAN, SEX, words, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'words = """first\nlast"""\n    scale = len(words)\n' in result.lifted.text
