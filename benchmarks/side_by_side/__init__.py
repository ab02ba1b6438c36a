"""Load, processes, servers and statistics of the serving benchmark."""
