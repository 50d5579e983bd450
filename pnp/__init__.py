"""pnp: restore images with any linear operator, any prior and one loop."""
