"""Energy intelligence: what streams of telemetry mean, what follows from it, and what it is worth.

The numeric half (layout, columns, quantiles, regimes, forecast, bank, entropy, node) is pure arithmetic on columns of NumPy; it is
imported with the first point and not before, so that a daemon nobody sends telemetry to has none of it in memory. Nothing in here
reads a clock, a file or chance: the same points give the same rows, however they were cut into batches.
"""
