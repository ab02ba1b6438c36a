"""Many repositories in one command: their state, what an update would do, and the update itself."""
