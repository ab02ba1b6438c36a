"""A year of a model in about two minutes: `make year` plays it in a rendered repository, on the sample."""
