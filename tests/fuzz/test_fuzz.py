"""Damaged files: each reader answers with what it read or with one sentence, in time and within memory."""

from random import Random

import pytest

from tests.fuzz.killed_writes import ENDS, SETS, killed
from tests.fuzz.readers import COMMAND_LINES, READERS
from tests.fuzz.run import fuzz
from tests.fuzz.samples import write_samples

INPUTS = 200
HALVES = [list(READERS)[::2], list(READERS)[1::2]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("samples")
    write_samples(place)
    return place


@pytest.mark.parametrize("readers", HALVES, ids=["one half", "other half"])
def test_damaged_files(folder, readers):
    tallies = fuzz(readers, "suite", 0, INPUTS, folder)
    assert {name: tally.faults for name, tally in tallies.items()} == dict.fromkeys(readers, [])
    assert all(tally.inputs == INPUTS and tally.refused for tally in tallies.values())


def test_command_lines(folder):
    """Each flag with what cannot be meant, once: `python -m tests.fuzz "command lines"` has more."""
    tally = fuzz([COMMAND_LINES], "suite", 0, INPUTS, folder)[COMMAND_LINES]
    assert tally.faults == []
    assert tally.inputs == INPUTS and tally.read and tally.refused


ENDED = [(kind, ENDS[(i + j) % len(ENDS)], j) for i, kind in enumerate(SETS) for j in range(len(ENDS))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind, end", [pytest.param(kind, end, marks=[pytest.mark.slow] if j else []) for kind, end, j in ENDED]
)
def test_killed_writes(tmp_path, kind, end):
    assert killed(kind, end, Random(f"{kind} {end}"), tmp_path) in ("old or new", "absent")


@pytest.mark.filterwarnings("ignore")
def test_whole_files_are_read(folder, monkeypatch):
    """Else the fuzzer would look at the first check only."""
    monkeypatch.chdir(folder)
    for reader in READERS.values():
        for sample in folder.iterdir():
            if sample.name.startswith(reader.samples):
                reader.call(str(sample))
