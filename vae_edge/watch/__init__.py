"""Sources of a stream: files to their end or as they grow, pipes, folders of images, videos and cameras."""

from .events_file import appended
from .sources import Source, open_source

__all__ = ["Source", "appended", "open_source"]
