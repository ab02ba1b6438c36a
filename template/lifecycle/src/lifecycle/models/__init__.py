"""Model bundles: their files, the runtimes that load them, metrics, reference profile and model card."""
