"""python -m pnp"""

from .cli import main

main()
