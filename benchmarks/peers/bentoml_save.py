"""Put the pipeline into BentoML's model store (BENTOML_HOME)."""

import bentoml
import joblib

bentoml.sklearn.save_model("churn", joblib.load("pipeline.joblib"), signatures={"predict_proba": {"batchable": False}})
