"""Damaged files: each reader answers with what it read or with one sentence, in time and within memory."""

import pytest

from tests.fuzz.readers import READERS
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


@pytest.mark.filterwarnings("ignore")
def test_whole_files_are_read(folder, monkeypatch):
    """Else the fuzzer would look at the first check only."""
    monkeypatch.chdir(folder)
    for reader in READERS.values():
        for sample in folder.iterdir():
            if sample.name.startswith(reader.samples):
                reader.call(str(sample))
