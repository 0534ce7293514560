"""A seeded fuzzer of every reader: damaged inputs get one sentence, in time and within memory.

`python -m tests.fuzz --minutes 30` runs it by hand; `test_fuzz.py` runs some inputs of each reader with the suite.
"""

import sys
from pathlib import Path

if (_tests := str(Path(__file__).parents[1])) not in sys.path:  # the tests' own modules: atoms, small, expt_files
    sys.path.append(_tests)
