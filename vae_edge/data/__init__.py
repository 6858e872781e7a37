"""Data files to rows: images in folders, .npy, .npz, CSV and Parquet."""

from .dataset import Dataset
from .read import read

__all__ = ["Dataset", "read"]
