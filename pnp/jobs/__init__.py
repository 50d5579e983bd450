"""One picture, from a wish to a result."""
