"""Maps for people: one colour scale per bundle, contours and boxes over the picture, regions as a table."""

from .regions import picture_regions, region_columns
from .scale import MapScale, scale_of

__all__ = ["MapScale", "picture_regions", "region_columns", "scale_of"]
