"""Height and width that are free: rows and latents of any size that a model takes, and decoding in tiles."""
