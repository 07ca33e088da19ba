"""What is asked: windows, turns, mentions, and the encoder that compares questions."""
