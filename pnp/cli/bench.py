"""`pnp bench`: compare methods."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import one_line_errors


@click.group()
def bench() -> None:
    """Compare methods on pictures whose truth is known."""


@bench.command()
@click.option("--data", multiple=True, envvar="PNP_DATA", metavar="PATH", help="Folder or glob of clean pictures. "
              "Default: photographs that come with scikit-image.")  # fmt: skip
@click.option("--denoiser", "specs", multiple=True, metavar="SPEC", help="Default: all that are at hand.")
@click.option("--sigma", "sigmas", multiple=True, type=click.FloatRange(0, min_open=True), default=(15, 25, 50),
              show_default=True, metavar="S", help="Noise level, of 255; repeatable.")  # fmt: skip
@click.option("--grey/--as-stored", default=False, help="Take colour pictures as grey ones.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the rows and the machine as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def denoise(debug: bool, **options: Any) -> None:
    """PSNR, SSIM and time per picture of each denoiser.

    The standard protocol: noise from seed 0 for each picture, neither clipped nor rounded; the result clipped and
    rounded to 8 bits; whole pictures.
    """
    with one_line_errors(debug):
        _denoise(**options)


def _denoise(
    data: tuple[str, ...], specs: tuple[str, ...], sigmas: tuple[float, ...], grey: bool, output: Path | None
) -> None:
    from rich.console import Console

    from .. import denoising, images, report

    if output is not None:
        images.check_target(output)
    pictures = denoising.load(images.expand(list(data)) if data else [], grey)
    console = Console(stderr=True)
    rows = []
    with console.status("denoising") as status:
        for row in denoising.compare(pictures, list(specs or denoising.DEFAULT), list(sigmas), say=status.update):
            rows.append(row)
    name = Path(data[0]).name if len(data) == 1 else "bundled photographs" if not data else "several folders"
    Console(width=None if sys.stdout.isatty() else 130).print(denoising.table(rows, name))
    if output is not None:
        report.write_json(output, denoising.record(rows, data=name, grey=grey, pictures=len(pictures)))
        click.echo(f"wrote {output}")
