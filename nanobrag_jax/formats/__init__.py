"""Image files that other programs open: the format follows the file name (docs/formats.md)."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .image_format import FileContent as FileContent
    from .image_format import FrameFormat as FrameFormat
    from .image_format import ImageFormat as ImageFormat
    from .image_format import Requirement as Requirement
    from .read import read_image as read_image
    from .registry import format_named as format_named
    from .registry import register as register
    from .setup import Lab as Lab
    from .setup import PanelPlace as PanelPlace
    from .setup import Setup as Setup
    from .sweep import write_sweep as write_sweep
    from .write import write_image as write_image
else:
    # The same names, loaded when they are first asked for: reading a file needs no jax.
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        image_format="FileContent FrameFormat ImageFormat Requirement",
        read="read_image",
        registry="format_named register",
        setup="Lab PanelPlace Setup",
        sweep="write_sweep",
        write="write_image",
    )
