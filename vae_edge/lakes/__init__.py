"""Folders of tables: every file scored once, each into a file of its own, and again only where something changed."""

from .folder import FileResult, score_folder
from .listing import is_folder_of_tables

__all__ = ["FileResult", "is_folder_of_tables", "score_folder"]
