"""What opens in a browser: pages that hold all that they show, and what a notebook shows of a result."""
