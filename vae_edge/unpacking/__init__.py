"""A bundle as plain files: standalone ONNX graphs, one JSON, one C header, golden arrays and a README."""

from .folder import Unpacked, unpack

__all__ = ["Unpacked", "unpack"]
