"""The formats that there are: one line each. Names of files and what they ask for."""

import os

from ..errors import InputError
from .image_format import FrameFormat, ImageFormat
from .minicbf import MiniCbf
from .nexus import Nexus
from .npy import Npy
from .pgm import Pgm
from .png import Png
from .raw import Raw
from .smv import Smv

RAW = Raw()
OWN: tuple[ImageFormat, ...] = (
    MiniCbf(),
    Nexus(),
    Npy(),
    Smv(),
    Pgm(),
    RAW,
    Png(),
)
"""Those of the package."""

_registered: dict[str, ImageFormat] = {}


def all_formats() -> tuple[ImageFormat, ...]:
    """The package's formats, and then the user's in the order they were registered."""
    return (*OWN, *_registered.values())


def register(kind: ImageFormat) -> ImageFormat:
    """Let `write_image`, `read_image` and the command use a format by its name and its endings; returns it.

    A format of the user's that has the same name is replaced.

    **Raises** `InputError` if one of the package's formats has the name, another format one of the endings, an ending
    is not written as they are to be, or the format does not say all that `ImageFormat` asks for.
    """
    facts = [*ImageFormat.__annotations__, *(FrameFormat.__annotations__ if isinstance(kind, FrameFormat) else ())]
    unsaid = [fact for fact in facts if not hasattr(kind, fact)]
    if unsaid:
        raise InputError(f"the format {type(kind).__name__} does not say {', '.join(unsaid)}")
    others = [other for other in all_formats() if other.name not in _registered or other.name != kind.name]
    if any(other.name == kind.name for other in others):
        raise InputError(f"a format of the package is called {kind.name!r}: give another name")
    for ending in kind.extensions:
        if not ending.startswith(".") or ending != ending.lower() or ending == "." or os.sep in ending:
            raise InputError(f"an ending must be small letters after a point, as in '.cbf', got {ending!r}")
        taken = next((other for other in others if ending in other.extensions), None)
        if taken is not None:
            raise InputError(f"{ending} stands for {taken.label} files already: give {kind.label} another ending")
    _registered[kind.name] = kind
    return kind


def format_named(name: str) -> ImageFormat:
    """The format of a name, such as "cbf". **Raises** `InputError`, with all names, where there is none."""
    for kind in all_formats():
        if kind.name == name:
            return kind
    raise InputError(f"there is no image format {name!r}: there are {listed([k.name for k in all_formats()])}")


def known_by_ending(path: str | os.PathLike[str]) -> ImageFormat | None:
    """The format that a file's ending stands for, None for none."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    return next((kind for kind in all_formats() if ending in kind.extensions), None)


def format_of(path: str | os.PathLike[str]) -> ImageFormat:
    """The format of a file name. **Raises** `InputError`, with all endings, for one that stands for none."""
    found = known_by_ending(path)
    if found is None:
        endings = [ending for kind in all_formats() for ending in kind.extensions]
        raise InputError(f"cannot write {os.fspath(path)!r}: its name must end in {listed(endings)}")
    return found


def format_of_output(path: str, usual: str) -> tuple[ImageFormat, str | None]:
    """The format that a flag's file gets, and a note where its name looks like another one, else None.

    **Arguments:** `usual`: the name of the format that the reference's flag writes; some endings decide for another.
    """
    kept, found = format_named(usual), known_by_ending(path)
    if found is None or found is kept or found.foreign == "nothing":
        return kept, None
    if found.foreign == "decides" and kept.holds_numbers:
        return found, None
    return kept, f"{path} will hold {kept.label}, though its name looks like {found.label}"


def listed(words: list[str]) -> str:
    """Words as a sentence has them: "a, b or c"."""
    return ", ".join(words[:-1]) + " or " + words[-1]
