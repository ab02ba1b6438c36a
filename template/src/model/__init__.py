"""What the model is: its contract, its data, its features and its estimator."""
