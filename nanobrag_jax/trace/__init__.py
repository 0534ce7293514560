"""Every intermediate of one pixel, by name."""

from .pixel import trace_pixel as trace_pixel
from .record import Carried as Carried
from .record import Trace as Trace
