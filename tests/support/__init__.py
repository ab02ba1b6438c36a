"""Helpers that several tests use."""

# Seconds to wait for something that takes a moment on an idle machine; CI has two busy cores.
PATIENCE = 120.0
