"""What the storage records: deployments, the audit log, the prediction log and provenance."""
