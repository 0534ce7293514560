"""What a real detector adds to the photons that reach it: one pure function a step, `detect` for all of them."""

from ..numerics.pixel_random import image_key as image_key
from .config import DetectorEffects as DetectorEffects
from .pipeline import detect as detect
from .pipeline import noise_image as noise_image
from .psf import psf_kernel as psf_kernel
from .psf import spread as spread
