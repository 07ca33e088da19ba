"""The figures of README and docs: how they are made, kept, and shown."""
