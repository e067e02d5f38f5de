"""Normalise, colour, blend, label, tile: arrays in, arrays out, nothing else."""
