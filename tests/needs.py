"""Programs that a test needs beside Python: a missing one is a skip at a desk, a failure in CI."""

import os
import shutil

import pytest


def need(program: str, *, beside: str = "", otherwise: str = "") -> str:
    """Return where a program is: in the folder `beside`, or on the PATH; else say what helps."""
    found = shutil.which(program, path=beside or None) or shutil.which(program)
    if found is not None:
        return found
    reason = f"{program} is not on the PATH{otherwise and f': {otherwise}'}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
