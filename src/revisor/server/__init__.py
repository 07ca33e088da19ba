"""`revisor serve`: a store's model with its facts over HTTP, and for agents."""
