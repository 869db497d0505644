"""Programs that a test needs beside Python: a missing one is a skip at a desk, a failure in CI."""

import os
import shutil

import pytest


def need(program: str) -> str:
    """Return where a program is."""
    found = shutil.which(program)
    if found is not None:
        return found
    reason = f"{program} is not on the PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
