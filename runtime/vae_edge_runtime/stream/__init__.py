"""Streams: rows of sensors or frames in, decisions out."""

from .alarm import Alarm
from .engine import Stream
from .events import Event
from .guard import Fault
from .opening import open_stream
from .options import StreamOptions
from .rows import Rows

__all__ = ["Alarm", "Event", "Fault", "Rows", "Stream", "StreamOptions", "open_stream"]
