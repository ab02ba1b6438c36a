"""Build a typed client of the service: a wheel that needs nothing of this repository."""
