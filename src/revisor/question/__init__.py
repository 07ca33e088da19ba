"""What a text asks: its turns, its questions as templates, and the encoder that compares them."""
