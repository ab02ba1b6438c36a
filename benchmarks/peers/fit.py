"""Fit the pipeline that the peers serve, in our repository's environment and on the same training rows.

python fit.py FOLDER, in the repository, writes pipeline.joblib and requests.json: rows of the holdout, the fields that
our service receives, and the predictions of the pipeline.
"""

import json
import sys
from pathlib import Path

import joblib  # type: ignore[import-untyped]
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from lifecycle import settings
from lifecycle.contract import team
from lifecycle.features import point_in_time
from lifecycle.training.dataset import load_dataset

CATEGORIES = ["plan", "channel", "region", "device"]
ROWS = 200


def main() -> None:
    folder = Path(sys.argv[1])
    project, config = team.load(Path.cwd()), settings.load(Path.cwd()).settings
    connection = point_in_time.connect(project.data, config.data)
    as_of = point_in_time.latest(connection, project.data)
    dataset = load_dataset(connection, project, as_of, config, "local", config.train.holdout)
    # The deployed model is fitted to all rows, too.
    train, held = dataset.rows, dataset.holdout
    inputs = [column.name for column in project.contract.inputs]
    numbers = [name for name in inputs if name not in CATEGORIES]
    # Numbers are passed through, so that the peers have no step that ours lacks.
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("numbers", "passthrough", numbers), ("categories", encoder, CATEGORIES)])
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=config.train.seed)
    pipeline = make_pipeline(columns, trees).fit(train.frame[numbers + CATEGORIES], train.label.astype(int))
    joblib.dump(pipeline, folder / "pipeline.joblib")
    rows = held.frame[numbers + CATEGORIES].head(ROWS)
    predictions = pipeline.predict_proba(rows)[:, 1].tolist()
    sent = held.frame[[column.name for column in project.contract.request]].head(ROWS)
    cases = [
        {"row": row, "sent": own, "prediction": prediction}
        for row, own, prediction in zip(rows.to_dict("records"), sent.to_dict("records"), predictions, strict=True)
    ]
    (folder / "requests.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main()
