"""Regatta: a read-optimised, distributed key-value store."""

__version__ = "0.6.0"
