"""One HTML page about a bundle and the rows it has judged, for people who hand results on."""

from .gather import Findings, find
from .page import render

__all__ = ["Findings", "find", "render"]
