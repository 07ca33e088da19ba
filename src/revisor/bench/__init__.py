"""Measuring: suites of questions, asked of every method the same way, kept so that they resume."""
