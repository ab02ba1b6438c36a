"""A year of a model in about a minute: `make year` plays it in a rendered repository, on the sample."""
