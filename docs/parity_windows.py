"""Cut the windows of a full-frame golden run out of our float image, and lay them beside the reference's.

    python docs/parity_windows.py IMAGE RUN MODE FOLDER

IMAGE is a raw float image of the run, RUN the golden folder (golden_data/pilatus), MODE spec or c-parity. Writes
FOLDER/ours_MODE.npy and FOLDER/reference_MODE.npy: the ten windows of 64 × 64 pixels in two rows of five.
"""

import json
import sys
from pathlib import Path

import numpy as np

from nanobrag_jax.formats.raw import read_raw


def montage(windows: np.ndarray) -> np.ndarray:
    """Ten windows (10, n, n) in two rows of five, (2n, 5n)."""
    n = windows.shape[-1]
    return windows.reshape(2, 5, n, n).swapaxes(1, 2).reshape(2 * n, 5 * n)


def main(image_path: str, run: str, mode: str, folder: str) -> None:
    """Write both montages."""
    place = Path(run)
    record = json.loads((place / f"{place.name}.json").read_text())
    image = read_raw(image_path, tuple(record["shape"]))
    size = record["block"]
    ours = np.stack([image[slow : slow + size, fast : fast + size] for slow, fast in record["windows"]])
    with np.load(place / f"{place.name}.npz") as golden:
        reference = golden[f"{mode}_windows"]
    np.save(Path(folder) / f"ours_{mode}.npy", montage(ours))
    np.save(Path(folder) / f"reference_{mode}.npy", montage(reference))


if __name__ == "__main__":
    main(*sys.argv[1:])
