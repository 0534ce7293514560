"""Small input files for random commands, the same for everybody."""

from pathlib import Path

import numpy as np

from .crystal import standard_setting
from .detector import lab_rotation

PIXELS = 14, 12
"""Fast, slow."""
MATRICES = {"oblique.mat": (41, 47, 56, 84, 97, 106), "straight.mat": (38, 38, 61, 90, 90, 90)}
"""Cells (Å, degrees), for a wavelength of 1 Å."""
SOURCES = """# X Y Z weight wavelength
-9.97 -0.008 0.047 0.4 1.05e-10
-9.96, 0.053, 0.023; 1.7 1.07e-10

-10.02:0.014:0.025!0.9
-10 -0.04 0.01
"""
HEADER = "{\nHEADER_BYTES=512;\nDIM=2;\nBYTE_ORDER=little_endian;\nTYPE=unsigned_short;\n"
FULL = "PIXEL_SIZE=3;\nDISTANCE=70;\nWAVELENGTH=1.1;\nBEAM_CENTER_X=16.5;\nBEAM_CENTER_Y=20.25;\nPHI=2;\nOSC_RANGE=1;\n"


def write_inputs(folder: Path) -> Path:
    """Fill a folder with matrices, amplitudes, sources, masks and a header."""
    rng = np.random.default_rng(7)
    for name, cell in MATRICES.items():
        star = standard_setting(cell, False) @ lab_rotation((0.4, -1.1, 2.3)).T
        (folder / name).write_text("\n".join(" ".join(f"{x:.12f}" for x in row) for row in star.T) + "\n")
    indices = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in (7, 8, 9)), indexing="ij"), -1).reshape(-1, 3)
    lines = [f"{h} {k} {l} {rng.uniform(5, 100):.3f}" for h, k, l in indices if rng.random() > 0.05]
    (folder / "some.hkl").write_text("\n".join(lines) + "\n")
    (folder / "sources.txt").write_text(SOURCES)
    fast, slow = PIXELS
    size = f"SIZE1={fast};\nSIZE2={slow};\n"
    for name, more in (("bare.img", ""), ("full.img", FULL)):
        text = (HEADER + size + more + "}\n\f").ljust(512).encode()
        (folder / name).write_bytes(text + (rng.random((slow, fast)) > 0.3).astype("<u2").tobytes())
    return folder
