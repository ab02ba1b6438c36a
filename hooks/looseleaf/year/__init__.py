"""A year of a model's life in two minutes: what `make year` plays in a rendered repository, on the sample."""
