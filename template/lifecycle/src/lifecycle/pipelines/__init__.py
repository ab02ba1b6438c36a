"""The jobs: one a file, each a plain function that any scheduler can call."""
