"""What is done to a whole store: made, archived, exported, erased from, verified."""
