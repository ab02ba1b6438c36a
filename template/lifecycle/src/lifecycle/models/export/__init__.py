"""Conversion of fitted estimators to ONNX, verified against the estimator itself."""
