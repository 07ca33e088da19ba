"""Rows of keys and residuals: in memory, on disk, and the search among them."""
