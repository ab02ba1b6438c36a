"""Prediction log to Parquet, labels, drift, quality, skew, verdict and report of a deployed version."""
