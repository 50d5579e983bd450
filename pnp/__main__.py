"""The command `pnp`, also as `python -m pnp`: it listens to signals before anything heavy is imported."""

from __future__ import annotations

from . import interrupts


def main() -> None:
    """Entry point of the console script."""
    with interrupts.listening():
        from . import cli

        cli.main()


if __name__ == "__main__":
    main()
