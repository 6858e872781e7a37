"""Export for generation alone: a bundle that samples, encodes and decodes, and needs no calibration rows."""
