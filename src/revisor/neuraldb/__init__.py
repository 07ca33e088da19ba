"""The published system: facts as rows of a bank that a gate in one FFN layer reads."""
