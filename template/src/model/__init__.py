"""The model: its contract, data, features and estimator."""
