"""A table of common estimators, transformers and pipelines, each with the kind of bundle that it becomes.

The kinds are written down, so that a test reports a change of a converter or of the verification.
"""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, SVR, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from support.exports import CODES, NUMBERS, Entry, linear, regression


def columns(numbers: Any, codes: Any = "passthrough") -> ColumnTransformer:
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("codes", codes, CODES)])


def hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore")


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def hgb(**given: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=20, random_state=0, **given)


def forest(**given: Any) -> RandomForestClassifier:
    return RandomForestClassifier(10, random_state=0, **given)


TABLE = [
    # Histogram gradient boosting converts with everything but categorical splits.
    Entry("boosting", hgb),
    Entry("boosting with nulls", hgb, nulls=True),
    Entry("boosting, multiclass", hgb, task="multiclass", nulls=True),
    Entry("boosting, monotonic", lambda: hgb(monotonic_cst=[1, 0, 0, 0, 0, 0])),
    Entry("boosting, categorical splits", lambda: hgb(categorical_features=CODES), "skops", nulls=True),
    Entry(
        "categorical splits inside columns",
        lambda: make_pipeline(columns("passthrough"), hgb(categorical_features=CODES)),
        "skops",
    ),
    Entry("boosting behind a scaler", lambda: make_pipeline(StandardScaler(), hgb()), nulls=True),
    Entry("boosting behind an imputer", lambda: make_pipeline(SimpleImputer(), hgb()), nulls=True),
    Entry("boosting behind ordinal codes", lambda: make_pipeline(columns("passthrough", ordinal()), hgb())),
    regression("boosted regression", lambda: HistGradientBoostingRegressor(max_iter=20), nulls=True),
    regression("boosted poisson", lambda: HistGradientBoostingRegressor(max_iter=20, loss="poisson"), nulls=True),
    regression("boosted gamma", lambda: HistGradientBoostingRegressor(max_iter=20, loss="gamma")),
    regression("boosted quantile", lambda: HistGradientBoostingRegressor(max_iter=20, loss="quantile", quantile=0.9)),
    # Trees and forests.
    Entry("tree", lambda: DecisionTreeClassifier(max_depth=6)),
    Entry("tree with nulls", lambda: DecisionTreeClassifier(max_depth=6), nulls=True),
    Entry("extra tree", lambda: ExtraTreeClassifier(max_depth=6, random_state=0)),
    Entry("forest", forest),
    Entry("forest with nulls", forest, nulls=True),
    Entry("forest behind a scaler", lambda: make_pipeline(StandardScaler(), forest())),
    Entry("forest behind min-max", lambda: make_pipeline(MinMaxScaler(), forest())),
    Entry("forest, multiclass", forest, task="multiclass"),
    Entry("extra trees", lambda: ExtraTreesClassifier(10, random_state=0)),
    Entry("gradient boosting", lambda: GradientBoostingClassifier(n_estimators=20)),
    Entry(
        "gradient boosting behind a scaler",
        lambda: make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=20)),
    ),
    Entry(
        "gradient boosting behind a power",
        lambda: make_pipeline(PowerTransformer(), GradientBoostingClassifier(n_estimators=20)),
        "skops",
    ),
    Entry(
        "gradient boosting, exponential loss",
        lambda: make_pipeline(StandardScaler(), GradientBoostingClassifier(loss="exponential", n_estimators=200)),
    ),
    Entry(
        "gradient boosting from zero",
        lambda: GradientBoostingClassifier(n_estimators=10, init="zero"),
        task="multiclass",
    ),
    Entry("gradient boosting, multiclass", lambda: GradientBoostingClassifier(n_estimators=10), task="multiclass"),
    Entry("ada boost", lambda: AdaBoostClassifier(n_estimators=10)),
    Entry(
        "ada boost behind a scaler",
        lambda: make_pipeline(StandardScaler(), AdaBoostClassifier(n_estimators=10)),
        "skops",
    ),
    Entry("bagging", lambda: BaggingClassifier(DecisionTreeClassifier(max_depth=4), 5, random_state=0)),
    regression("regression tree", lambda: DecisionTreeRegressor(max_depth=6)),
    regression("regression forest", lambda: RandomForestRegressor(10, random_state=0)),
    regression("regression forest with nulls", lambda: RandomForestRegressor(10, random_state=0), nulls=True),
    regression(
        "regression forest behind a scaler",
        lambda: make_pipeline(StandardScaler(), RandomForestRegressor(10, random_state=0)),
    ),
    regression("regression extra trees", lambda: ExtraTreesRegressor(10, random_state=0)),
    regression("regression gradient boosting", lambda: GradientBoostingRegressor(n_estimators=20)),
    regression("regression ada boost", lambda: AdaBoostRegressor(n_estimators=10, random_state=0)),
    regression("regression bagging", lambda: BaggingRegressor(DecisionTreeRegressor(max_depth=4), 5, random_state=0)),
    Entry(
        "bagging with nulls",
        lambda: BaggingClassifier(DecisionTreeClassifier(max_depth=4), 5, random_state=0),
        nulls=True,
    ),
    # Linear models.
    Entry(
        "linear",
        lambda: make_pipeline(
            columns(make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), hot()), linear()
        ),
        nulls=True,
    ),
    Entry("linear, multiclass", lambda: make_pipeline(columns(StandardScaler(), hot()), linear()), task="multiclass"),
    Entry("linear, unscaled", linear),
    Entry("linear, robust", lambda: make_pipeline(RobustScaler(), linear())),
    Entry("linear, max-abs", lambda: make_pipeline(MaxAbsScaler(), linear())),
    Entry("linear, ordinal", lambda: make_pipeline(columns(StandardScaler(), ordinal()), linear())),
    Entry(
        "linear by gradient descent",
        lambda: make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)),
    ),
    Entry(
        "one against the rest",
        lambda: make_pipeline(StandardScaler(), OneVsRestClassifier(linear())),
        task="multiclass",
    ),
    regression("least squares", lambda: make_pipeline(StandardScaler(), LinearRegression())),
    regression(
        "ridge",
        lambda: make_pipeline(columns(make_pipeline(SimpleImputer(), StandardScaler()), hot()), Ridge()),
        nulls=True,
    ),
    regression("lasso", lambda: make_pipeline(StandardScaler(), Lasso(0.01))),
    regression("elastic net", lambda: make_pipeline(StandardScaler(), ElasticNet(0.01))),
    regression("bayesian ridge", lambda: make_pipeline(StandardScaler(), BayesianRidge())),
    regression("huber", lambda: make_pipeline(StandardScaler(), HuberRegressor(max_iter=500))),
    regression("poisson", lambda: make_pipeline(StandardScaler(), PoissonRegressor())),
    regression("gamma", lambda: make_pipeline(StandardScaler(), GammaRegressor())),
    regression("tweedie", lambda: make_pipeline(StandardScaler(), TweedieRegressor(power=1.5))),
    regression("quantile", lambda: make_pipeline(StandardScaler(), QuantileRegressor(alpha=0.01))),
    # Neighbours, kernels, bayes, networks.
    Entry("neighbours", lambda: make_pipeline(StandardScaler(), KNeighborsClassifier())),
    regression("regression neighbours", lambda: make_pipeline(StandardScaler(), KNeighborsRegressor())),
    Entry("kernel machine", lambda: make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)), "skops"),
    regression("regression kernel machine", lambda: make_pipeline(StandardScaler(), SVR()), "skops"),
    regression("linear kernel machine", lambda: make_pipeline(StandardScaler(), LinearSVR(max_iter=5000))),
    regression("gaussian process", lambda: make_pipeline(StandardScaler(), GaussianProcessRegressor(alpha=0.1))),
    Entry("naive bayes", GaussianNB),
    Entry("naive bayes of bits", lambda: make_pipeline(Binarizer(threshold=0.5), BernoulliNB()), "skops"),
    Entry("linear discriminant", LinearDiscriminantAnalysis, "skops"),
    Entry("quadratic discriminant", QuadraticDiscriminantAnalysis),
    Entry("network", lambda: make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=60, random_state=0))),
    regression(
        "regression network",
        lambda: make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=60, random_state=0)),
    ),
    Entry("trivial", lambda: DummyClassifier(strategy="prior"), "skops"),
    regression("trivial number", DummyRegressor, "skops"),
    # Models of models.
    Entry(
        "stacking",
        lambda: StackingClassifier(
            [("tree", DecisionTreeClassifier(max_depth=4)), ("linear", make_pipeline(StandardScaler(), linear()))], cv=2
        ),
    ),
    Entry(
        "soft voting",
        lambda: VotingClassifier(
            [("tree", DecisionTreeClassifier(max_depth=4)), ("linear", make_pipeline(StandardScaler(), linear()))],
            voting="soft",
        ),
    ),
    regression(
        "voting",
        lambda: VotingRegressor(
            [("tree", DecisionTreeRegressor(max_depth=4)), ("linear", make_pipeline(StandardScaler(), Ridge()))]
        ),
    ),
    Entry("sigmoid calibration", lambda: CalibratedClassifierCV(DecisionTreeClassifier(max_depth=4), cv=2)),
    Entry(
        "isotonic calibration",
        lambda: CalibratedClassifierCV(DecisionTreeClassifier(max_depth=4), method="isotonic", cv=2),
    ),
    Entry(
        "temperature calibration",
        lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), linear()), method="temperature", cv=2),
    ),
    Entry(
        "fixed threshold",
        lambda: FixedThresholdClassifier(make_pipeline(StandardScaler(), linear()), threshold=0.3),
    ),
    Entry(
        "grid search",
        lambda: GridSearchCV(make_pipeline(StandardScaler(), linear()), {"logisticregression__C": [0.1, 1]}, cv=2),
    ),
    regression(
        "transformed target",
        lambda: TransformedTargetRegressor(
            make_pipeline(StandardScaler(), Ridge()), func=np.log1p, inverse_func=np.expm1
        ),
        "skops",
    ),
    # Transformers.
    Entry("splines", lambda: make_pipeline(columns(SplineTransformer()), linear()), "skops"),
    Entry("polynomials", lambda: make_pipeline(StandardScaler(), PolynomialFeatures(2), linear())),
    Entry("power", lambda: make_pipeline(columns(PowerTransformer(), hot()), linear())),
    Entry("uniform quantiles", lambda: make_pipeline(columns(QuantileTransformer(n_quantiles=50), hot()), linear())),
    Entry(
        "normal quantiles",
        lambda: make_pipeline(
            columns(QuantileTransformer(n_quantiles=50, output_distribution="normal"), hot()), linear()
        ),
        "skops",
    ),
    Entry("ordinal bins", lambda: make_pipeline(columns(KBinsDiscretizer(5, encode="ordinal"), hot()), linear())),
    Entry("hot bins", lambda: make_pipeline(columns(KBinsDiscretizer(5, encode="onehot"), hot()), linear()), "skops"),
    Entry("normalised", lambda: make_pipeline(Normalizer(), linear())),
    Entry(
        "rare levels together",
        lambda: make_pipeline(
            columns(StandardScaler(), OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=200)), linear()
        ),
        "skops",
    ),
    Entry("target codes", lambda: make_pipeline(columns(StandardScaler(), TargetEncoder(random_state=0)), linear())),
    Entry(
        "iterative imputer",
        lambda: make_pipeline(IterativeImputer(random_state=0), StandardScaler(), linear()),
        "skops",
        nulls=True,
    ),
    Entry(
        "imputer of neighbours", lambda: make_pipeline(KNNImputer(), StandardScaler(), linear()), "skops", nulls=True
    ),
    Entry(
        "null indicator",
        lambda: make_pipeline(make_union(SimpleImputer(), MissingIndicator(features="all")), linear()),
        "skops",
        nulls=True,
    ),
    Entry(
        "imputer with indicator",
        lambda: make_pipeline(SimpleImputer(add_indicator=True), linear()),
        nulls=True,
    ),
    Entry("function", lambda: make_pipeline(FunctionTransformer(np.nan_to_num), linear()), "skops", nulls=True),
    Entry("function of nothing", lambda: make_pipeline(FunctionTransformer(), linear())),
    Entry("main components", lambda: make_pipeline(StandardScaler(), PCA(3), linear())),
    Entry("singular values", lambda: make_pipeline(StandardScaler(), TruncatedSVD(3, random_state=0), linear())),
    Entry("clusters", lambda: make_pipeline(StandardScaler(), KMeans(5, random_state=0), linear()), "skops"),
    Entry("best columns", lambda: make_pipeline(SelectKBest(k=3), StandardScaler(), linear())),
    Entry("varying columns", lambda: make_pipeline(VarianceThreshold(0.1), StandardScaler(), hgb())),
    Entry(
        "union",
        lambda: make_pipeline(FeatureUnion([("scaled", StandardScaler()), ("clusters", MinMaxScaler())]), linear()),
    ),
]
