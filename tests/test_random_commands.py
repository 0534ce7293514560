"""Random commands against the restatement of the reference (tests/random_commands), and that against the golden images.

A few dozen commands here; thousands by hand: `python -m tests.random_commands --commands 2000 --seed 1`.
"""

from collections import Counter

import numpy as np
import pytest
from golden import CASES, INPUTS, absent, case_of, check_image, images_of
from random_commands.crystal import grating, sphere
from random_commands.draws import Stream, random_rotation
from random_commands.generate import Draw, command, layout
from random_commands.inputs import write_inputs
from random_commands.judge import judged
from random_commands.pixels import Restated

LAYOUTS, EACH = 6, 4
SEED = 20
SAMPLES = 1_000_000
"""Of a golden image with more, where pixels pass nothing on, some of the rows are restated."""

JUDGED_BY = """
basic_hkl conv_xds_tilted conv_adxv_beam custom_vectors_sample_pivot pix0_alone mask_hdr cell_triclinic
cell_triclinic_spec mat_and_cell misset_random_7 gauss_small_fudge hkl_interpolate_latch_late sources_weighted
phi_crosses_zero phi_zero_dmin abs_inf water_spec round_direct_beam
""".split()
"""Cases that show most parts of the restatement; the others run with -m "slow or not slow"."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("mode", ["spec", "c-parity"])
@pytest.mark.parametrize("number", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in range(LAYOUTS) if n != 5)])
def test_random_commands(number, mode, inputs):
    of = layout(Draw([SEED, number]))
    for i in range(EACH):
        verdict = judged(command(Draw([SEED, number, i]), of, mode), inputs, mode)
        assert verdict.ratio <= 1, str(verdict)
        assert verdict.doubtful <= 2


SMALL = "-detpixels_x 14 -detpixels_y 12 -pixel 3 -distance 60 -lambda 1.1 -default_F 10"
FOUND = {
    "the volume of a cell beside a matrix": (
        "-mat oblique.mat -cell 40.5 47.8 54.9 83 98 107 -N 4 -gauss_xtal -fudge 0.01 -oversample 1",
        ("c-parity",),
    ),
    "sub-pixels by the edges of a cell beside a matrix": (
        "-mat straight.mat -cell 37.2 38.9 66 90 90 90 -N 3 -pixel 0.6 -distance 230",
        ("c-parity",),
    ),
    "water where dmin leaves nothing": (
        "-cell 40 50 60 -N 4 -nopolar -dmin 4 -water 0.5 -oversample 1",
        ("spec", "c-parity"),
    ),
    "and with polarisation": (
        "-cell 40 50 60 -N 4 -polar 0.8 -dmin 4 -water 0.5 -oversample 2",
        ("spec", "c-parity"),
    ),
    "polarisation that nobody asked for, and none at all": (
        "-cell 40 50 60 -N 4 -nopolar -dmin 4 -water 0.5 -oversample 2 -oversample_polar -polar 0.7 -nopolar",
        ("spec", "c-parity"),
    ),
}
"""Commands that have been wrong, or might easily be, and in which modes."""


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, (_, modes) in FOUND.items() for mode in modes])
def test_found_by_random_commands(name, mode, inputs):
    words = f"{SMALL} {FOUND[name][0]}".split()
    verdict = judged(words, inputs, mode)
    assert verdict.ratio <= 1, str(verdict)
    assert not verdict.dark and verdict.doubtful == 0


def test_the_commands_differ():
    """Among a few hundred there is each flag that the generator knows, in any order, and no command twice."""
    commands = [command(Draw([1, i, 1]), layout(Draw([1, i])), "c-parity") for i in range(400)]
    assert len(set(map(tuple, commands))) == len(commands)
    counts = Counter(word for words in commands for word in words if word[0] == "-" and word[1:2].isalpha())
    assert len(counts) > 75 and min(counts.values()) > 1
    assert len({words[0] for words in commands}) > 20


def test_the_judge_finds_a_difference(inputs):
    """An image of the other mode, where they differ, and one number that is not quite the same."""
    words = "-cell 40 50 60 -N 5 -default_F 10 -detpixels 12 -pixel 3 -distance 60 -oversample 1 -osc 2 -phisteps 2"
    right = Restated(words.split(), inputs, True).image()
    assert not np.array_equal(right, Restated(words.split(), inputs, False).image())
    verdict = judged(words.split(), inputs, "c-parity")
    assert verdict.ratio <= 1 and not verdict.dark and verdict.doubtful == 0
    other = Restated([*words.split(), "-lambda", "1.0001"], inputs, True).image()
    with pytest.raises(AssertionError, match="pixels differ"):
        check_image(other, right)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(case["name"], mode, marks=[pytest.mark.slow] * (case["name"] not in JUDGED_BY))
        for case in CASES
        for mode in case["modes"]
    ],
)
def test_the_restatement_is_the_reference(name, mode):
    if not CASES:
        absent(INPUTS)
    args = case_of(name)["args"]
    tophat = "-tophat_spots" in args or "-binary_spots" in args
    reference, restated = images_of(name)["float"], Restated(args, INPUTS, mode == "c-parity")
    every = 1 + restated.steps * reference.size // SAMPLES if restated.passes_nothing_on else 1
    left_out = np.arange(reference.shape[0]) % every > 0
    check_image(restated.image(every), np.where(left_out[:, None], np.float32(0), reference), edges=tophat)


def test_first_draws():
    """The numbers of docs/reference.md section 7."""
    stream, default = Stream(1), Stream(12345678)
    np.testing.assert_allclose([stream.draw() for _ in range(3)], [0.415999353, 0.091964893, 0.75641048], rtol=1e-7)
    matrix = random_rotation(default, np.radians(0.8))
    np.testing.assert_allclose(matrix[0], [0.9999132776, 0.01316198052, -0.0004466263619], rtol=1e-9)


def test_singular_points():
    assert [grating(0.0, 5), grating(0.3, 1), sphere(0.0, True), sphere(0.0, False)] == [5, 1, 1, 1]
    assert sphere(1e-9, True) == 0.0 and sphere(1e-9, False) == 1.0
    assert sphere(0.0499999, False) == pytest.approx(sphere(0.0500001, False), rel=1e-8)
