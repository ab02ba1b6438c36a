"""The service: one deployed bundle behind HTTP, followed as its deployment changes."""

# The variable that names the folder in which several processes count as one; Prometheus' client reads it when imported.
SHARED = "PROMETHEUS_MULTIPROC_DIR"
