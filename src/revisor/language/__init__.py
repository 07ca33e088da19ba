"""Rules of written language: words, names, sentences and turns, with their word lists as data."""
