"""Where the golden data is, for the tests of the file formats."""

import os
from pathlib import Path

import pytest

GOLDEN = Path(os.environ.get("NANOBRAG_GOLDEN_DATA", Path(__file__).parents[2] / "golden_data"))


@pytest.fixture
def golden() -> Path:
    if not (GOLDEN / "cases.json").is_file():
        if os.environ.get("CI"):
            pytest.fail(f"no golden data in {GOLDEN}")
        pytest.skip(f"no golden data in {GOLDEN}")
    return GOLDEN
