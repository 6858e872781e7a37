"""The machine: what it is, what it lacks, and what is remembered on it between processes."""
