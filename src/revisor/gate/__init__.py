"""Decides at each position of a text whether a fact is written, which one, and how."""
