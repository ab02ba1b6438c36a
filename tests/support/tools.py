"""External programs that tests need."""

import os
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip the test if a program is missing, unless LOOSELEAF_TOOLS requires it."""
    missing = [name for name in programs if not shutil.which(name)]
    reason = f"{', '.join(missing)} is not installed"
    return pytest.mark.skipif(bool(missing) and not os.environ.get("LOOSELEAF_TOOLS"), reason=reason)
