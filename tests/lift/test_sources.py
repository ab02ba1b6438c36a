"""The raw table is a file, a data set of scikit-learn, or one of several files with the same columns."""

from pathlib import Path

import pytest

from lifecycle.errors import LifecycleError
from looseleaf.lift.repository import write
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT, passengers

COLUMNS = '["age", "fare", "sex"]'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write a table for the fit, and one without labels for the prediction."""
    folder = tmp_path / "work"
    folder.mkdir()
    table = passengers(300)
    table[:200].to_csv(folder / "train.csv", index=False)
    table[200:].drop(columns="survived").to_csv(folder / "test.csv", index=False)
    table[200:].to_csv(folder / "later.csv", index=False)
    return folder


@pytest.mark.parametrize(
    "lines",
    [
        'wine = load_wine()\ndf = pd.DataFrame(wine.data, columns=wine["feature_names"])\n'
        'X, y = df.values, wine.target\nparts = {"all": {"X": X, "y": y}}\nX = parts["all"]["X"]',
        "X, y = load_wine(return_X_y=True)",
        'df = load_wine(as_frame=True).frame\nX, y = df.drop(columns="target"), df["target"]',
    ],
)
def test_a_data_set_of_scikit_learn_is_a_table_with_its_names(lines: str, lift, tmp_path: Path) -> None:
    split = "from sklearn.model_selection import train_test_split\nparts = train_test_split(X, y, random_state=0)"
    fit = (
        "from sklearn.tree import DecisionTreeClassifier as Tree\nmodel = Tree(random_state=0).fit(parts[0], parts[2])"
    )
    start = "import pandas as pd\nfrom sklearn.datasets import load_wine"
    result = lift(start, lines, split, fit, "model.predict_proba(parts[1])")
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["label"] == "target"
    assert "alcohol" in result.checks["columns"]
    assert "learned.data_set(" in result.lifted.text
    with pytest.raises(LifecycleError, match="load_wine of scikit-learn is not a file"):
        write(tmp_path, result, "", bool)


def test_a_function_that_reads_two_files_reads_the_raw_table_for_the_fit_and_the_request(files: Path, lift) -> None:
    read = f"""import pandas as pd
def load(name):
    df = pd.read_csv(name)
    {SEX}
    df = df[df["fare"] < 60]
    return df
train, test = load("train.csv"), None
test = load("later.csv")"""
    fit = f"""from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit(train[{COLUMNS}].fillna(0), train["survived"])"""
    result = lift(read, fit, f"model.predict_proba(test[{COLUMNS}].fillna(0))")
    assert result.is_verified, (result.checks, result.lifted.text)
    text = 'df = learned.request(lambda: pd.read_csv(name), raw, fit="cell 1, line 7")'
    assert text in result.lifted.text
    assert result.checks["rejected"] == {"df[df['fare'] < 60]": 6}


def test_a_file_without_labels_is_what_a_request_has(files: Path, lift) -> None:
    read = 'import pandas as pd\ntrain = pd.read_csv("train.csv")\ntest = pd.read_csv("test.csv")'
    loop = f"""for df in [train, test]:
    {SEX}
    df["age"] = df["age"].fillna(train["age"].median())
train = train[train["fare"] < 60]"""
    fit = f"""from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit(train[{COLUMNS}], train["survived"])"""
    result = lift(read, loop, fit, f"labels = model.predict(test[{COLUMNS}])")
    assert result.is_verified, (result.checks, result.lifted.text)
    assert """learned.request(lambda: pd.read_csv("test.csv"), raw, without=['survived'])""" in result.lifted.text
    assert result.checks["label"] == "survived"
    assert result.checks["parities"]["batch"]["rows"] == 100


def test_tables_below_each_other_are_the_request_alone(files: Path, lift) -> None:
    read = 'import pandas as pd\nimport numpy as np\ntrain = pd.read_csv("train.csv")\ntest = pd.read_csv("test.csv")'
    both = f"""count = len(train)
df = pd.concat([train, test]).reset_index(drop=True)
df = df.drop(columns=["survived", "name", "cabin"])
{MEAN}
df = pd.get_dummies(df)
X, X_test = df[:count], df[count:]"""
    fit = """from sklearn.linear_model import LinearRegression
model = LinearRegression().fit(X, np.log1p(train["survived"].values))"""
    result = lift(read, both, fit, "np.expm1(model.predict(X_test))")
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'learned.stack("concat", lambda: pd.concat([train, test]), test)' in result.lifted.text
    assert "    if learned.training:\n        train = raw.copy()\n" in result.lifted.text
    assert (result.checks["label"], result.checks["inverse"]) == ("survived", "expm1")


def test_copies_of_rare_rows_are_for_training_only(lift) -> None:
    balanced = """from sklearn.utils import resample
many, few = df[df["survived"] == 1], df[df["survived"] == 0]
few = resample(few, n_samples=len(many), random_state=0)
df = pd.concat([many, few])"""
    result = lift(READ, MEAN, SEX, balanced, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["rejected"] == {}


def test_a_table_that_seaborn_downloads_is_requested(lift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 'import seaborn as sns\ndf = sns.load_dataset("nothing")'
    with pytest.raises(Exception, match=r"cell 1 fails: ConnectionError.*\n.*--data"):
        lift(read, MEAN, SEX, SPLIT, FIT, PREDICT)
    result = lift(read, MEAN, SEX, SPLIT, FIT, PREDICT, data=str(tmp_path / "work/passengers.csv"))
    assert result.is_verified, (result.checks, result.lifted.text)


@pytest.mark.parametrize("argument", ["", "filepath_or_buffer="])
def test_data_takes_the_place_of_the_file_that_is_missing(argument: str, files: Path, lift) -> None:
    (files / "ports.csv").write_text("port,distance\nC,1\nQ,2\nS,3\n" + "X,4\n" * 20)
    read = f'import pandas as pd\nports = pd.read_csv("ports.csv")\ndf = pd.read_csv({argument}"missing.csv")'
    join = 'df = df.merge(ports.drop_duplicates(), on="port", how="left")'
    split = SPLIT.replace('"sex"]', '"sex", "distance"]')
    result = lift(read, MEAN, SEX, join, split, FIT, PREDICT, data=str(files / "train.csv"))
    assert result.is_verified, (result.checks, result.lifted.text)
    assert 'pd.read_csv("ports.csv")' in result.lifted.text
    assert [each["given"] for each in result.trace.facts["sources"]] == ["ports.csv", str(files / "train.csv")]
