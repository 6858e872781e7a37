"""Noise that is the same in every language and on every device, and the latents that `sample` draws with it."""
