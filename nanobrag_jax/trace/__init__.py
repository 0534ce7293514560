"""Every intermediate of one pixel, by name."""

from ..trace_record import Carried as Carried
from ..trace_record import Trace as Trace
from .pixel import trace_pixel as trace_pixel
