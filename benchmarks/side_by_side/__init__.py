"""What a side-by-side run of servers takes: load, processes, who is measured, medians and ratios."""
