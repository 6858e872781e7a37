"""Two bundles, or two variants of one: what they say about themselves, and what they make of the same rows."""
