"""What notebooks of other authors needed: each notebook has one difficulty that was found in public ones."""

import pytest

from lifecycle.errors import LifecycleError
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT, passengers

PORT = SPLIT.replace('"sex"]', '"sex", "port"]')
ENCODER = "from sklearn.preprocessing import LabelEncoder\nencoder = LabelEncoder()\n"


@pytest.mark.parametrize(
    "line",
    [
        'df[["sex", "port"]] = df[["sex", "port"]].apply(encoder.fit_transform)',
        'df[["sex", "port"]] = df[["sex", "port"]].apply(lambda each: encoder.fit_transform(each.astype(str)))',
        'df[["fare", "port"]] = df[["fare", "port"]].apply(lambda each: encoder.fit_transform(each), axis=0)',
    ],
)
def test_an_encoder_that_is_applied_to_columns_is_kept_for_each(line: str, lift) -> None:
    sex = "" if '"sex"' in line else SEX
    result = lift(READ, MEAN, sex or "pass", ENCODER + line, PORT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "learned.fit_transform(" in result.lifted.text


def test_a_scale_of_columns_by_a_lambda_is_kept(lift) -> None:
    scale = 'df[["age", "fare"]] = df[["age", "fare"]].apply(lambda each: (each - each.mean()) / each.std())'
    result = lift(READ, MEAN, SEX, scale, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)


def test_a_package_that_is_missing_stops_only_what_uses_it(lift) -> None:
    result = lift("import nowhere\nimport pandas as pd\nnowhere.show()", READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "nowhere" not in result.lifted.text


def test_a_filter_on_all_columns_becomes_a_condition_on_each(lift) -> None:
    bounds = """numbers = df[["age", "fare"]]
low, high = numbers.quantile(0.05), numbers.quantile(0.95)
df = df[~((numbers < low) | (numbers > high)).any(axis=1)]"""
    result = lift(READ, MEAN, SEX, bounds, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["unruled"] == []
    assert {(each["column"], each["kind"]) for each in result.checks["rules"]} == {
        (column, kind) for column in ("age", "fare") for kind in ("low", "high")
    }


def test_rows_whose_label_is_missing_are_predicted_as_requests(lift) -> None:
    parts = """df.loc[df["fare"] < 15, "survived"] = None
known, missing = df[df["survived"].notna()], df[df["survived"].isna()]
X_train, y_train = known[["age", "fare", "sex"]], known["survived"].astype(int)
X_test = missing[["age", "fare", "sex"]]"""
    table = passengers()
    table.loc[table["fare"] < 15, "survived"] = None
    result = lift(READ, MEAN, SEX, parts.split("\n", 1)[1], FIT, PREDICT, table=table)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["label"] == "survived"


def test_a_function_that_returns_some_rows_of_its_table_chooses_them_for_training(lift) -> None:
    function = """def without_outliers(table):
    parts = []
    for port, part in table.groupby("port"):
        low, high = part["fare"].mean() - part["fare"].std(), part["fare"].mean() + part["fare"].std()
        parts.append(part[(part["fare"] > low) & (part["fare"] < high)])
    return pd.concat(parts, ignore_index=True)
df = without_outliers(df)"""
    result = lift(READ, MEAN, SEX, function, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["rejected"] == {}
    assert {"age_mean", "without_outliers", "model"} <= set(result.checks["values"])


def test_a_filter_in_a_loop_over_columns_becomes_a_condition_on_each(lift) -> None:
    loop = """for name in ["age", "fare"]:
    low, high = df[name].quantile(0.05), df[name].quantile(0.95)
    df = df[(df[name] >= low) & (df[name] <= high)]"""
    result = lift(READ, MEAN, SEX, loop, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["unruled"] == []


def test_a_package_that_is_missing_and_needed_is_named(lift) -> None:
    with pytest.raises(LifecycleError, match=r"cell 1 fails, and the prediction needs it: ModuleNotFoundError"):
        lift(
            "import nowhere\nimport pandas as pd",
            READ,
            MEAN,
            "df['age'] = nowhere.rounded(df)",
            SEX,
            SPLIT,
            FIT,
            PREDICT,
        )


@pytest.mark.parametrize(
    "line",
    [
        "from sklearn.utils import shuffle\ndf = shuffle(df, random_state=0)",
        "df = df.sample(frac=1, random_state=0).reset_index(drop=True)",
        "from sklearn.utils import shuffle\nnumber = df.index\ndf, number = shuffle(df, number, random_state=0)",
    ],
)
def test_a_shuffle_is_one_of_training(line: str, lift) -> None:
    result = lift(READ, MEAN, SEX, line, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "learned.training_rows(" in result.lifted.text


def test_rows_that_resampling_makes_are_not_compared(lift) -> None:
    sampler = """class Sampler:
    def fit(self, X, y):
        return self
    def get_params(self):
        return {}
    def fit_resample(self, X, y):
        few = X[y == 1]
        made = (few + few.iloc[::-1].to_numpy()) / 2
        return pd.concat([X, made], ignore_index=True), pd.concat([y, y[y == 1]], ignore_index=True)
df = df[["age", "fare", "sex", "survived"]]
X, y = Sampler().fit_resample(df.drop(columns="survived"), df["survived"])
"""
    split = SPLIT.replace('X = df[["age", "fare", "sex"]]\ny = df["survived"]\n', "")
    result = lift(READ, MEAN, SEX, sampler + split, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "rows that resampling generated were not compared" in result.checks["parities"]["batch"]["note"]
    # No larger share of the rows is excused than was generated.
    wrong = sampler.replace("pd.concat([X, made]", "pd.concat([X + 1000, made]")
    parity = lift(READ, MEAN, SEX, wrong + split, FIT, PREDICT).checks["parities"]["batch"]
    assert (parity["equal"], "are not among them" in parity["error"]) == (False, True)


def test_a_name_that_a_loop_or_comprehension_binds_needs_no_earlier_one(lift) -> None:
    plots = """import matplotlib.pyplot as plt
figure, axes = plt.subplots(1, 2)
for i, column in enumerate(["age", "fare"]):
    axes[i].hist(df[column])"""
    loop = """y = []
for i in df["survived"]:
    y.append(int(i))
df["survived"] = y
names = [column for column in df.columns if column in ("age", "fare", "sex")]"""
    split = SPLIT.replace('["age", "fare", "sex"]', "names")
    result = lift(READ, MEAN, SEX, plots, loop, split, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "axes" not in result.lifted.text


def test_a_table_that_is_made_with_the_index_of_another_has_the_rows_of_a_request(lift) -> None:
    scaled = """from sklearn.preprocessing import StandardScaler
columns = ["age", "fare"]
table = pd.DataFrame(StandardScaler().fit_transform(df[columns]), columns=columns, index=df.index)
df[columns] = table"""
    result = lift(READ, MEAN, SEX, scaled, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert "index=df.index" in result.lifted.text


def test_a_word_among_numbers_that_becomes_a_missing_value_is_a_condition(lift) -> None:
    table = passengers()
    table["fare"] = table["fare"].astype(str).where(table.index % 20 != 0, " ")
    numbers = 'df["fare"] = pd.to_numeric(df["fare"], errors="coerce")\ndf = df.dropna(subset=["age", "fare"])'
    result = lift(READ, numbers, SEX, SPLIT, FIT, PREDICT, table=table)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert result.checks["unruled"] == []
    assert {"column": "fare", "kind": "words", "value": [" "]}.items() <= result.checks["rules"][-1].items()
