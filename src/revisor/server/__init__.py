"""Answers: the engine that runs a model with its facts."""
