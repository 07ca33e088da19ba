"""The gate: from a key to the residual of the row it matches, put into a running model."""
