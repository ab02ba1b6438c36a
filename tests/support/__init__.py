"""Helpers that several tests use."""

# Seconds to wait for something that takes less than a second on an idle machine; CI has two busy cores.
PATIENCE = 120.0
