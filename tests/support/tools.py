"""Programs that the suite drives and did not write: found, or told missing, or an error where they are promised."""

import os
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is missing; where LOOSELEAF_TOOLS promises the tools, go on and fail."""
    missing = [name for name in programs if not shutil.which(name)]
    reason = f"{', '.join(missing)} is not on this machine"
    return pytest.mark.skipif(bool(missing) and not os.environ.get("LOOSELEAF_TOOLS"), reason=reason)
