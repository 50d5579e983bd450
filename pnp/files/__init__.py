"""Picture files: reading, writing, and what stands beside the pixels."""
