"""The images of a sweep to files: each in one of its own, or all in one, written as they come."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from .. import checks
from ..effects import DetectorEffects
from ..errors import InputError
from ..experiment import Experiment, image_experiment
from ..io.file_set import FileSet
from ..io.outputs import is_template, numbered_path, panel_path, sweep_template, write_outputs
from ..typing import Mode
from .image_format import AddFrame, FrameFormat, Image, ImageFormat, require_writer
from .registry import format_of
from .setup import Setup
from .write import image_outputs, panel_images, setup_for


def write_sweep(
    path: str | os.PathLike[str],
    images: Iterable[ArrayLike | Sequence[ArrayLike]],
    experiment: Experiment,
    n: int,
    first: int = 1,
    *,
    mode: Mode = "spec",
    effects: DetectorEffects | None = None,
) -> list[str]:
    """The names of the files that the images of a sweep were written to, each image as soon as it is there.

    In a name with `####` that is the number of an image, in a file of its own: `image_####.cbf`. Without, NeXus and npy
    files hold all images, (frame, slow, fast), and those of other formats get the number before the extension.

    **Arguments:**

    - `path`: as for `write_image`;
    - `images`: n images, what `simulate_sweep` gives or counts of them;
    - `experiment`: of image 1;
    - `n`, `first`: how many images, and the number of the first of them;
    - `mode`, `effects`: as for `write_image`.

    **Raises** and **warns** as `write_image`, and for another number of images than n. A file of all images then does
    not appear; files of single images that were complete before stay. Source: docs/formats.md.
    """
    kind, text = format_of(path), os.fspath(path)
    require_writer(kind)
    checks.count("n", n)
    setup = setup_for(image_experiment(experiment, first), mode, effects=effects)
    for note in kind.unsaid(setup):
        warnings.warn(f"{text}: {note}", stacklevel=2)
    together, written = frame_format(kind, text), []
    with contextlib.ExitStack() as stack:
        files, add = stack.enter_context(FileSet()), None
        for number, image in _counted(images, first, n):
            panels = panel_images(image, experiment)
            if together is None:
                setup = setup_for(image_experiment(experiment, number), mode, effects=effects)
                outputs = image_outputs("write_sweep", numbered_path(sweep_template(text), number), kind, panels, setup)
                write_outputs(outputs)
                written += [output.path for output in outputs]
            else:
                if add is None:
                    written = frame_paths(together, text, len(panels))
                    add = stack.enter_context(open_frames(files, "write_sweep", together, written, n, setup))
                add(panels)
    return written


def _counted(images: Iterable[ArrayLike | Sequence[ArrayLike]], first: int, n: int):
    """Numbers and images. **Raises** `InputError` when there turn out not to be n of them."""
    number = first
    for number, image in enumerate(images, first):
        if number >= first + n:
            raise InputError(f"write_sweep: there are more than {n} images")
        yield number, image
    if number != first + n - 1:
        raise InputError(f"write_sweep: there are fewer than {n} images")


def frame_format(kind: ImageFormat, path: str) -> FrameFormat | None:
    """The format of a file that is to hold all images of a sweep; None where each has a file of its own."""
    return kind if isinstance(kind, FrameFormat) and not is_template(path) else None


def frame_paths(kind: FrameFormat, path: str, panels: int) -> list[str]:
    """The files that hold all images: one, or one for each panel."""
    count = 1 if kind.panels_together else panels
    return [panel_path(path, number, count) for number in range(count)]


@contextlib.contextmanager
def open_frames(
    files: FileSet, flag: str, kind: FrameFormat, paths: Sequence[str], frames: int, setup: Setup
) -> Iterator[AddFrame]:
    """What adds an image, (slow, fast) of each panel, to files of a set.

    **Arguments:**

    - `files`: the set, which is entered before this and left after it;
    - `flag`: whom to name in an error;
    - `paths`: of one file for all panels, or of one for each;
    - `frames`: how many images there will be;
    - `setup`: of the first.

    **Raises** `InputError`, naming flag and file.
    """
    with contextlib.ExitStack() as stack:
        adds: list[AddFrame] = []
        for path in paths:
            temporary = files.name(path, flag)
            opened = kind.open_frames(temporary, frames, setup)
            with _about(flag, path):
                adds.append(opened.__enter__())
            stack.push(partial(_close, opened, flag, path))

        def add(images: Sequence[Image]) -> None:
            for number, (path, add_to) in enumerate(zip(paths, adds, strict=True)):
                with _about(flag, path):
                    add_to(images if len(adds) < len(images) else images[number : number + 1])

        yield add


def _close(opened: AbstractContextManager[AddFrame], flag: str, path: str, *raised: Any) -> bool | None:
    """Leave a file, which may write what is left of it; that it fails is an error with flag and file, too."""
    try:
        return opened.__exit__(*raised)
    except (OSError, RuntimeError) as error:
        if error is raised[1]:
            raise
        raise InputError(f"{flag} {path}: {_reason(error)}") from error


@contextlib.contextmanager
def _about(flag: str, path: str) -> Iterator[None]:
    """Put flag and file in front of an error. HDF5 reports a full disk in one of two ways."""
    try:
        yield
    except (InputError, OSError, RuntimeError) as error:
        raise InputError(f"{flag} {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The system's words where HDF5 hands them on between others."""
    found = re.search("error message = '([^']*)'", str(error))
    return found.group(1) if found else str(error)
