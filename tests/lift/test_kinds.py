"""Each kind of learned value is kept, and new rows are predicted as the notebook predicted them."""

import pandas as pd
import pytest

from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT, passengers

COLUMNS = ["age", "fare", "sex"]

FEATURES = """from sklearn.model_selection import train_test_split
from sklearn.linear_model import LogisticRegression
X = df.drop(columns=["survived"])
X_train, X_test, y_train, y_test = train_test_split(X, df["survived"], random_state=0)
model = LogisticRegression(max_iter=1000).fit(X_train, y_train)
model.predict_proba(X_test)"""
NARROW = 'df = df.drop(columns=["name", "cabin"])'


def test_a_mean_is_kept_and_the_fit_is_not_repeated(lift) -> None:
    result = lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    assert result.is_verified, result.checks
    assert 'df["age"] = df["age"].fillna(learned("age_mean", lambda: df["age"].mean()))' in result.lifted.text
    assert 'model = learned("model", lambda: model.fit(X_train, y_train))' in result.lifted.text
    assert [(each["key"], each["kind"], each["cell"]) for each in result.lifted.learned] == [
        ("age_mean", "value", 2),
        ("model", "fitted", 5),
    ]
    assert result.checks["label"] == "survived"
    assert set(result.checks["unused"]) == {"name", "port", "cabin", "survived"}


LEARNED = {
    "levels of dummies": ('df = pd.get_dummies(df, columns=["port"])', "learned.get_dummies("),
    "levels of a table that is named": (
        'df = pd.get_dummies(columns=["port"], data=df)',
        'learned.get_dummies("get_dummies_port", df, columns=["port"])',
    ),
    "levels of categories": ('df["port"] = df["port"].astype("category").cat.codes', "learned.category("),
    "levels of factorize": ('df["port"] = pd.factorize(df["port"])[0]', "learned.factorize("),
    "a fitted encoder": (
        'from sklearn.preprocessing import LabelEncoder\ndf["port"] = LabelEncoder().fit_transform(df["port"])',
        "learned.fit_transform(",
    ),
    "edges of bins": (
        'df["fare"] = pd.qcut(df["fare"], 4, labels=False)\ndf = df.drop(columns="port")',
        "labels=False, function=pd.qcut)",
    ),
    "a value for each group": (
        'df["fare"] = df.groupby("port")["fare"].transform("mean")\ndf = df.drop(columns="port")',
        "learned.group_transform(",
    ),
    "what fills a group": (
        'df.loc[df["fare"] < 10, "fare"] = np.nan\n'
        'df["fare"] = df.groupby(["port", "sex"])["fare"].transform(lambda fare: fare.fillna(fare.median()))\n'
        'df = df.drop(columns="port")',
        "learned.group_transform(",
    ),
    "columns that are kept": (
        'df = df.drop(columns="port")\nwide = [*df.columns[df.nunique() > 2], "sex", "survived"]\ndf = df[wide]',
        'wide = learned("wide", lambda: ',
    ),
    "a table of levels": (
        'rates = df.groupby("port")["survived"].mean()\ndf["port"] = df["port"].map(rates)',
        'rates = learned("rates", lambda: df.groupby("port")["survived"].mean())',
    ),
}


@pytest.mark.parametrize("kind", LEARNED)
def test_a_learned_value_is_kept(kind: str, lift) -> None:
    line, expected = LEARNED[kind]
    result = lift(READ, "import numpy as np", MEAN, SEX, NARROW, line, FEATURES)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert expected in result.lifted.text


def test_columns_of_a_split_text_are_kept(lift) -> None:
    parts = 'parts = df["cabin"].str.split("-", expand=True)\ndf["deck"] = (parts[0] == "A").astype(int)'
    result = lift(READ, MEAN, SEX, parts, 'df = df.drop(columns=["name", "cabin", "port"])', FEATURES)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "learned.columns(" in result.lifted.text


def test_a_row_that_a_filter_removes_is_rejected_with_the_condition(lift) -> None:
    result = lift(READ, SEX, 'df = df[df["fare"] < 40]', 'df = df.dropna(subset=["age"])', SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    reasons = result.checks["rejected"]
    assert set(reasons) == {"df[df['fare'] < 40]", "df.dropna(subset=['age'])"}
    assert sum(reasons.values()) == result.checks["parities"]["batch"]["rejected"] > 20


def test_a_condition_for_a_learned_value_rejects_no_row(lift) -> None:
    guess = """for sex in [0, 1]:
    known = df[(df["sex"] == sex) & (df["fare"] > 9)]["age"].dropna()
    df.loc[df["age"].isnull() & (df["sex"] == sex), "age"] = known.median()"""
    result = lift(READ, SEX, guess, 'df = df[df["fare"] < 60]', SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert set(result.checks["rejected"]) == {"df[df['fare'] < 60]"}


def test_folds_of_a_cross_validation_return_every_new_row(lift) -> None:
    folds = """from sklearn.model_selection import StratifiedKFold
X, y = df[["age", "fare", "sex"]], df["survived"]
for train, test in StratifiedKFold(3).split(X, y):
    X_train, X_test, y_train = X.iloc[train], X.iloc[test], y.iloc[train]"""
    result = lift(READ, MEAN, SEX, folds, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "learned.folds(StratifiedKFold(3).split, X, y)" in result.lifted.text


def test_a_choice_of_rows_for_training_returns_every_new_row(lift) -> None:
    chosen = "df = df.drop_duplicates()\ndf = df.sample(frac=0.8, random_state=1)\ndf = df.reset_index(drop=True)"
    result = lift(READ, MEAN, SEX, chosen, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["rejected"] == {}


def test_filters_in_place_become_assignments(lift) -> None:
    result = lift(READ, SEX, 'df.dropna(subset=["age"], inplace=True)', SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "df = learned.keep(" in result.lifted.text


def test_a_condition_on_several_lines_is_a_reason_on_one(lift) -> None:
    condition = 'df = df[(df["fare"] < 40) &\n        (df["fare"] > 5)]'
    result = lift(READ, MEAN, SEX, condition, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert set(result.checks["rejected"]) == {"df[(df['fare'] < 40) & (df['fare'] > 5)]"}


def test_a_column_that_is_constant_in_the_first_rows_is_used(lift) -> None:
    table = passengers(1200).assign(year=[2011] * 600 + [2012] * 600)
    table["survived"] = table["survived"].where(table["year"] == 2011, 1)
    result = lift(READ, MEAN, SEX, SPLIT.replace('"sex"]', '"sex", "year"]'), FIT, PREDICT, table=table)
    assert result.is_verified, result.checks
    assert "year" not in result.checks["unused"]


def test_columns_that_only_training_needs_are_used(lift) -> None:
    table = passengers().assign(weight=[1, 9] * 100, day=range(200))
    table = pd.concat([table, table[:60].assign(day=range(200, 260), fare=1000)])
    split = f"""df = df[["age", "fare", "sex", "survived", "weight", "day", "port"]].drop_duplicates(subset="day")
first = df.sort_values("day").head(150)
columns = {COLUMNS}"""
    fit = """from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit(first[columns], first["survived"], sample_weight=first["weight"])"""
    result = lift(READ, MEAN, SEX, split, fit, "model.predict_proba(df[columns])", table=table)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert set(result.checks["unused"]) == {"name", "port", "cabin", "survived"}


def test_no_text_of_a_person_takes_the_place_of_an_unused_column(lift) -> None:
    table = passengers().assign(number=range(7001, 7201))
    result = lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT, table=table)
    columns = result.checks["columns"]
    assert [columns[name]["value"] for name in ("name", "port", "cabin", "number")] == ["", "", "", 0]
    known = {(row["fare"], row["age"]) for row in table.dropna().to_dict("records")}
    assert not known & {(each["row"]["fare"], each["row"]["age"]) for each in result.checks["golden"]}


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ('df["fare"] <= 40', {"column": "fare", "kind": "high", "value": 40.0}),
        ('df["fare"] < 40', {"column": "fare", "kind": "high", "value": 39.99999999999999}),
        ('~(df["number"] <= 4)', {"column": "number", "kind": "low", "value": 4.000000000000001}),
        ('df["code"] != 2', {"column": "code", "kind": "levels", "value": ["0", "1", "3"]}),
    ],
)
def test_a_rule_has_the_limit_of_the_author(condition: str, rule: dict[str, object], lift) -> None:
    table = passengers().assign(code=[0, 1, 2, 3] * 50, number=[*range(0, 400, 2)])
    result = lift(READ, MEAN, SEX, f"df = df[{condition}]", SPLIT, FIT, PREDICT, table=table)
    assert result.is_verified, (result.checks, result.lifted.text)
    [found] = result.checks["rules"]
    assert {name: found[name] for name in rule} == rule


def test_a_condition_that_names_no_column_chooses_rows_for_training(lift) -> None:
    table = passengers().sort_values("fare", ignore_index=True).assign(place=range(200))
    result = lift(READ, MEAN, SEX, 'mask = df["fare"] < 40\ndf = df[mask]', SPLIT, FIT, PREDICT, table=table)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert (result.checks["rules"], result.checks["rejected"]) == ([], {})


def test_a_sort_in_place_is_carried_over(lift) -> None:
    fit = FIT.replace("X_train, y_train", "X[:140], y[:140]")
    split = 'df.sort_values("fare", inplace=True)\nX, y = df[["age", "fare", "sex"]], df["survived"]'
    result = lift(READ, MEAN, SEX, split, fit, PREDICT.replace("X_test", "X"))
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "sort_values" in result.lifted.text


def test_a_query_finds_the_variables_of_the_notebook(lift) -> None:
    query = 'limit = 40\ndf = df.query("fare < @limit")'
    result = lift(READ, MEAN, SEX, query, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "    limit = 40\n" in result.lifted.text
