"""The verbs of the command line: each module adds some, reads their arguments, calls one job and tells the outcome."""
