"""How good a model is on recordings of strangers: scores, what wears them down, and what they are worth."""
