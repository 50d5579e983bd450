"""`pnp train`: train a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..progress import doing
from .options import levels, one_line_errors, seconds, sides
from .progress import shown


@click.command()
@click.argument("net", metavar="NETWORK")
@click.option("--data", required=True, multiple=True, metavar="PATH", help="Folder or glob of pictures, or of fonts.")
@click.option("--val", multiple=True, metavar="PATH", help="Validation pictures. Default: one in 32 of the data.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="Grey or colour. Default: 1.")
@click.option("--budget", callback=seconds, metavar="TIME", help="Length of the run: 90s, 45m, 2h.")
@click.option("--steps", type=click.IntRange(1), help="Length of the run in steps, in place of a budget.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for checkpoint, log and weights.")
@click.option("--levels", callback=levels, metavar="LOW..HIGH", help="Noise levels. Default: 0..55/255 for denoisers.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate. Default: set by the network.")
@click.option("--synthetic", type=click.FloatRange(0, 1), help="Share of patches from rendered pictures: dead leaves, "
              "drawings, text. Default: 0.")  # fmt: skip
@click.option("--jitter", type=click.FloatRange(0, 1), help="Share of photographs' patches with other colours. "
              "Default: 0.")  # fmt: skip
@click.option("--jpeg", type=click.FloatRange(0, 1), help="Share of photographs' patches that were a JPEG file. "
              "Default: 0.25.")  # fmt: skip
@click.option("--patch", callback=sides, metavar="LOW..HIGH", help="Side of a patch in pixels, growing. Default: set "
              "by the network.")  # fmt: skip
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), help="Number format. Default: auto, "
              "the fastest here.")  # fmt: skip
@click.option("--mode", help="How trd is trained: joint, greedy or greedy+joint. Default: joint.")
@click.option("--init", metavar="WEIGHTS", help="First weights: a file, or the name of shipped ones.")
@click.option("--licence", help="Licences of the data, for the record. Default: unknown.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in --out, with its settings.")
@click.option("--seed", type=int, help="Default: 0.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def train(debug: bool, **options: Any) -> None:
    """Train a network on a folder of files.

    The command writes the weights with their record. NETWORK is one of these. unet, dncnn, drunet, trd, epll and
    wcrr learn to denoise, from pictures. text learns to deblur pages, from fonts. motion learns to tell the motion that
    blurred a picture, from pictures. Options follow a colon: unet:widths=32x64x128 or trd:size=7,sigma=25/255.
    """
    with one_line_errors(debug):
        _train(**options)


def _train(
    net: str,
    data: tuple[str, ...],
    val: tuple[str, ...],
    channels: str | None,
    out: Path,
    init: str | None,
    licence: str | None,
    resume: bool,
    **given: Any,
) -> None:
    import datetime
    from dataclasses import asdict, replace

    from ..priors import store
    from ..priors.nets import ARCHITECTURES
    from ..training import run
    from ..training.mixture import Mixture
    from ..training.objectives import OBJECTIVES

    name, config = run.parse_network(net)
    objective = OBJECTIVES[ARCHITECTURES[name].objective]
    pictures, judges = objective.files(data), objective.files(val) if val else None
    given["channels"] = None if channels is None else int(channels)
    given = {"net": name, "config": config, **{k: v for k, v in given.items() if v is not None}}
    for option in ("levels", "lr", "mode", "patch", "precision"):
        if option in given and option not in run.learner(name).options:
            raise ValueError(f"--{option} does not apply to {name}. Leave it out.")
    shares: dict[str, Any] = {k: given.pop(k) for k in ("jpeg", "jitter", "synthetic") if k in given}
    for option in shares:
        if not objective.mixed:
            raise ValueError(f"--{option} does not apply to {name}. Leave it out.")
    if "levels" in given and ARCHITECTURES[name](**config).level is not None:
        raise ValueError(f"--levels does not apply to {name}, which has one noise level. Use {name}:sigma=25/255.")
    if init is not None and resume:
        raise ValueError("--init starts a new run, and --resume continues the run in --out. Pass one of the two.")
    initial = None if init is None else store.load_file(init) if Path(init).suffix else store.load(init)
    if resume:
        settings = run.resumed(out, {**given, **shares})
    else:
        if "patch" in given:
            given |= run.growing(*given["patch"])
        settings = run.TrainSettings(**given, mixture=Mixture(**shares))
    before = settings.sources if initial is None else _origin(initial, init)
    same = resume and set(_folders(pictures)) <= set(before.get("data", []))
    sources = _sources(before, _folders(pictures), licence or ("" if same else "unknown"))
    settings = replace(settings, sources=sources)

    def report(now: run.Progress) -> None:
        score = " ".join(f"{value:.2f}" for value in now.scores.values())
        said = f"{now.seconds_left / 60:.0f} min left, {score or 'not judged yet'}"
        doing("training, step", now.step, round(now.step / max(now.progress, 1e-6)), lambda: said)

    with shown():
        trained = run.train(settings, pictures, out, validation=judges, resume=resume, initial=initial, report=report)
    last = run.last_line(out)
    scores = {name: score for name, score in last.items() if name not in run.LOGGED}
    record: dict[str, Any] = {
        "architecture": settings.net,
        **run.learner(name).record(settings, trained),
        **({"mixture": asdict(settings.mixture)} if objective.mixed else {}),
        "seed": settings.seed,
        **settings.sources,
        "steps": settings.sources.get("steps", 0) + last["step"],
        "date": datetime.date.today().isoformat(),
        **scores,
        "validation": {"data": _folders(judges or pictures), "pictures": last["pictures"]},
    }
    title = trained.title()
    store.export(trained, title, record, out)
    said = ", ".join(f"{name} {score}" for name, score in scores.items())
    click.echo(f"wrote {out / title}.safetensors after {last['step']} steps: {said}")


def _folders(pictures: list[Path]) -> list[str]:
    """The names of the folders that the pictures are in."""
    return sorted({p.parent.resolve().name for p in pictures})


def _origin(initial: Any, init: str | None) -> dict[str, Any]:
    """What the record of a new network says of the weights it starts from."""
    import hashlib

    from ..priors.store import record_of

    record = record_of(initial) or {"sha256": hashlib.sha256(Path(str(init)).read_bytes()).hexdigest()}
    unknown = {"data": ["unknown"], "licence": "unknown", "steps": 0}
    return {"init": record["sha256"], **{key: record.get(key, value) for key, value in unknown.items()}}


def _sources(before: dict[str, Any], data: list[str], licence: str) -> dict[str, Any]:
    """`before` with more data and another licence, each named once."""
    licences = filter(None, [*before.get("licence", "").split("; "), licence])
    names = dict.fromkeys([*before.get("data", []), *data])
    return {**before, "data": list(names), "licence": "; ".join(dict.fromkeys(licences))}
