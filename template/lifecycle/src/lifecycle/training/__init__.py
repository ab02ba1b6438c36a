"""Training: divide the labelled rows, fit, evaluate, compare with the champion, decide, and write the bundle."""
