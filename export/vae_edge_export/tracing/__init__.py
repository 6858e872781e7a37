"""From a torch module to ONNX, and the lines of the user's model that an operation comes from."""
