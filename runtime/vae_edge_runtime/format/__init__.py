"""The file: an archive of hashed members, its typed manifest, and the graphs that a device accepts."""
