"""Carry a model from a notebook into a rendered repository, and verify that its predictions do not change."""
