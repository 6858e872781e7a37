"""Inference engines behind one small protocol; an engine is imported only by its own file."""
