"""The graphs as torch modules, which are traced and compared with."""
