"""Say what to do about the failure of a cell."""

import re

# What an error contains, as a regular expression, and what to do.
HINTS = (
    ("NeedsInput", "Assign the value in the cell instead of input()."),
    ("CellTimeout", "Give --seconds a larger limit, or try fewer parameters in the search."),
    ("URLError|HTTPError|ConnectionError|gaierror", "Download the file, and name it with --data."),
    ("FileNotFoundError", "Name the file with --data, or put it where the notebook reads it."),
    ("sklearn.externals", "It was removed in scikit-learn 0.23: --with 'scikit-learn<0.23'."),
    ("ModuleNotFoundError", "Name the Python in which the notebook ran: --kernel PYTHON."),
    ("load_boston", "It was removed in scikit-learn 1.2: --with 'scikit-learn<1.2'."),
    ("'sparse'", "The argument was renamed in scikit-learn 1.2 and removed in 1.4: --with 'scikit-learn<1.4'."),
    ("has no attribute 'append'", "It was removed in pandas 2.0: --with 'pandas<2'."),
    ("has no attribute '(int|float|bool)'", "It was removed in NumPy 1.24: --with 'numpy<1.24'."),
    ("fit_sample", "It was renamed in imbalanced-learn 0.4: --with 'imbalanced-learn<0.8'."),
    ("NameError", "The name comes from a cell that was deleted or runs later: restart the kernel and run all cells."),
)
OTHERWISE = "Run the notebook from top to bottom in its own environment, and name it: --kernel PYTHON."


def hint_for(error: str) -> str:
    """Return what to do about an error of a cell that the prediction needs."""
    return next((hint for pattern, hint in HINTS if re.search(pattern, error)), OTHERWISE)
