"""Networks that need no operator, and the page that they restore."""
