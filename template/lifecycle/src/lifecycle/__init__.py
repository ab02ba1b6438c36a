"""How the model lives: its contract, bundles, deployments, jobs and service."""
