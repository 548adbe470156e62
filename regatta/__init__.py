"""Regatta: a read-optimised, distributed key-value store."""
