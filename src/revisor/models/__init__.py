"""Models as revisor sees them: where the FFN is, how to load one, and the hooks put into it."""
