"""Files: written whole or not at all, NumPy files of strangers, and rows that are too many for memory."""
