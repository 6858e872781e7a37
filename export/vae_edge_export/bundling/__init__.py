"""Members and manifest of a bundle, from finished variants."""
