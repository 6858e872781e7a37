"""From a raw row to a score, its p-value and its decision."""
