"""Data files to rows: pictures in folders, .npy, .npz, CSV, JSON Lines and Parquet."""

from .by_suffix import read
from .dataset import Dataset
from .options import TableOptions
from .report import ReadReport

__all__ = ["Dataset", "ReadReport", "TableOptions", "read"]
