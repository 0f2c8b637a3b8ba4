"""Numerics: arrays in, arrays and a status code out. Imports nothing of ours; only workers import it."""
