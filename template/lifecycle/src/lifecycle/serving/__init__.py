"""The service: one deployed bundle behind HTTP, followed as its deployment changes."""
