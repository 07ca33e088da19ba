"""Adapters that let inference engines use a gate: transformers, vLLM, llama.cpp."""
