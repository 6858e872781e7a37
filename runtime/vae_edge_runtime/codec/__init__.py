"""Rows to few bytes and back, on a trained VAE and integer tables; ``docs/compression.md`` has every format."""
