"""Where the golden data is, for the tests of the image formats."""

from pathlib import Path

import pytest
from golden import GOLDEN, absent


@pytest.fixture
def golden() -> Path:
    if not (GOLDEN / "cases.json").is_file():
        absent(GOLDEN)
    return GOLDEN
