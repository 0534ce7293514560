"""Image files that other programs open: the format follows the file name (docs/formats.md)."""

from .write import write_image as write_image
