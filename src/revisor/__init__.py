"""revisor: a database of facts inside any Hugging Face causal language model."""

__version__ = "0.1.0"
