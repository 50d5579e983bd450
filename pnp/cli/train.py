"""`pnp train`: train a denoiser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import levels, one_line_errors, seconds


@click.command()
@click.argument("net", metavar="NETWORK")
@click.option("--data", required=True, multiple=True, metavar="PATH", help="Folder or glob of pictures; repeatable.")
@click.option("--val", multiple=True, metavar="PATH", help="Pictures to judge by. Default: one in 32 of the data.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option("--budget", callback=seconds, metavar="TIME", help="Length of the run: 90s, 45m, 2h.")
@click.option("--steps", type=click.IntRange(1), help="Length of the run in steps, instead of a budget.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for checkpoint, log and weights.")
@click.option("--levels", default="0..55/255", show_default=True, callback=levels, metavar="LOW..HIGH",
              help="Noise levels to train for.")  # fmt: skip
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate. Default: the network's own.")
@click.option("--mode", default="joint", show_default=True, help="Of trd: joint, greedy or greedy+joint.")
@click.option("--init", metavar="WEIGHTS", help="Start from these: a file, or the name of shipped weights.")
@click.option("--licence", default="unknown", help="Licences of the data, for the record.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--seed", default=0, show_default=True)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def train(debug: bool, **options: Any) -> None:
    """Train a denoiser on a folder of pictures, and export its weights with their record.

    NETWORK is unet, dncnn or trd, with options as in trd:size=7,stages=5,sigma=25/255.
    """
    with one_line_errors(debug):
        _train(**options)


def _train(
    net: str,
    data: tuple[str, ...],
    val: tuple[str, ...],
    channels: str,
    budget: float | None,
    steps: int | None,
    out: Path,
    levels: tuple[float, float],
    lr: float | None,
    mode: Any,
    init: str | None,
    licence: str,
    resume: bool,
    seed: int,
) -> None:
    import datetime

    from rich.progress import Progress as Bar

    from .. import images, training, weights

    name, config = training.parse_network(net)
    settings = training.TrainSettings(
        name,
        channels=int(channels),
        budget=budget,
        steps=steps,
        config=config,
        levels=levels,
        lr=lr,
        mode=mode,
        seed=seed,
    )
    if resume:
        settings = training.resumed(out, settings)
    with Bar(disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("training", total=1.0)

        def report(now: training.Progress) -> None:
            score = " ".join(f"{v:.2f}" for v in now.psnr.values())
            text = f"step {now.step}, {now.seconds_left / 60:.0f} min left, {score or 'not judged yet'}"
            bar.update(task, completed=now.progress, description=text)

        judges = images.expand(list(val)) if val else None
        trained = training.train(
            settings,
            images.expand(list(data)),
            out,
            validation=judges,
            resume=resume,
            initial=None if init is None else weights.load_file(init) if Path(init).suffix else weights.load(init),
            report=report,
        )
    last = training.last_line(out)
    name = trained.title()  # type: ignore[operator]
    record = {
        "architecture": settings.net,
        "sigma": training.levels(settings, trained),
        "data": [Path(d).name for d in data],
        "licence": licence,
        "steps": last["step"],
        "date": datetime.date.today().isoformat(),
        "psnr": last["psnr"],
    }
    weights.export(trained, name, record, out)
    click.echo(f"wrote {out / name}.safetensors: {last['psnr']} dB after {last['step']} steps")
