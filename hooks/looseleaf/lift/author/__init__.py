"""Run inside the author's own interpreter, from Python 3.8 on, with nothing but its own NumPy and pandas."""
