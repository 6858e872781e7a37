"""Numbers from normal rows: quantiles with a promise, tails, many tests at once, distances, regions of a map."""
