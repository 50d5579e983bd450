"""What is solved, and the one loop that solves it."""
