"""Streams: rows of sensors or frames in, decisions out."""

from .alarm import Alarm
from .engine import Stream, open_stream
from .events import Event
from .guard import Fault
from .options import StreamOptions
from .rows import Rows

__all__ = ["Alarm", "Event", "Fault", "Rows", "Stream", "StreamOptions", "open_stream"]
