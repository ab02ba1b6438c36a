"""Lets the converter know LightGBM and XGBoost, where their extras are installed."""

import importlib.util


def register() -> None:
    """Teach skl2onnx the estimators of the libraries that are here; nothing is imported that was not."""
    import sys

    if importlib.util.find_spec("onnxmltools") is None:
        return
    if "lightgbm" in sys.modules:
        _lightgbm()
    if "xgboost" in sys.modules:
        _xgboost()


def _lightgbm() -> None: ...


def _xgboost() -> None: ...
