"""Facts without a model: reading, checking and keeping them. Nothing here imports torch."""
