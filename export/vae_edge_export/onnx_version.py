"""The ONNX operator set and file format that every graph of a bundle is written in."""

OPSET = 18
IR_VERSION = 8
