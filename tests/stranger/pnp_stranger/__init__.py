"""Members of pnp from outside of it."""
