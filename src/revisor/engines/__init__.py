"""Adapters that let inference engines use a gate: transformers, and what is built on it."""
