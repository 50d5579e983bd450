"""Trained weights: shipped files with their records, checked by sha256, and the export of new ones.

A folder of weights holds NAME.safetensors files and manifest.json: NAME -> record (architecture, config, sigma range,
data, licence, steps, date, sha256, validation PSNR).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files import atomic
from ..registry import unknown
from .nets import ARCHITECTURES, DnCNN, DRUNet, Network

SHIPPED = Path(__file__).parent / "weights"


class WeightsError(ValueError):
    """Weights that are unknown, damaged, or made for another architecture."""


def manifest(folder: Path = SHIPPED) -> dict[str, dict[str, Any]]:
    """The records of a folder of weights; empty where there is no manifest.  Raises WeightsError for another file."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    try:
        records = json.loads(path.read_text())
    except ValueError:
        records = None
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise WeightsError(f"{path} is not a manifest of weights. Expected NAME -> record, as `pnp train` writes it.")
    return records


def record_of(net: nn.Module) -> dict[str, Any] | None:
    """The record of the file that a network was loaded from; None where the file has none."""
    return net.record if isinstance(net, Network) else None


def load(name: str, folder: Path = SHIPPED) -> Network:
    """The network `name` with its weights and their record, in evaluation mode, float32.

    Raises WeightsError for an unknown name, a file whose sha256 differs from its record, or one that does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    records = manifest(folder)
    if name not in records:
        raise WeightsError(unknown("weights", name, list(records)))
    record = records[name]
    path = folder / f"{name}.safetensors"
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != record.get("sha256"):
        ours = folder.resolve() == SHIPPED.resolve()
        remedy = "Install pnp again." if ours else "Copy the file and its manifest.json again, or train again."
        raise WeightsError(f"{path} is damaged or missing: its sha256 differs from the manifest. {remedy}")
    net = _new(record, path)
    try:
        net.load_state_dict({key: value.float() for key, value in parse(data).items()})
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path} does not fit {record['architecture']}: {error}") from None
    net.record = record
    return net.eval().requires_grad_(False)


def _new(record: dict[str, Any], path: Path) -> Network:
    """The network that a record describes, before its weights are read from `path`."""
    architecture = str(record.get("architecture"))
    if architecture not in ARCHITECTURES:
        raise WeightsError(f"the record of {path}: {unknown('architecture', architecture, list(ARCHITECTURES))}")
    try:
        net = ARCHITECTURES[architecture](**record["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the record of {path} has no config that fits {architecture}: {error}") from None
    return net


def load_file(path: str | Path) -> Network:
    """A network from a file of weights: our own .safetensors, or a published .pth of KAIR or deepinv.

    .safetensors: the record is found in manifest.json beside it.  .pth: DnCNN and DRUNet in KAIR's or deepinv's names;
    architecture, channels, depth and biases are read off the shapes, and there is no record.
    Raises WeightsError for what is none of these.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file.")
    if path.suffix == ".safetensors":
        if not (path.parent / "manifest.json").is_file():
            raise WeightsError(f"{path}: manifest.json is missing beside it. Copy both files that `pnp train` wrote.")
        return load(path.stem, path.parent)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises a dozen kinds
        raise WeightsError(f"cannot read weights from {path}: {str(error).partition(chr(10))[0]}") from None
    while isinstance(state, dict) and 1 <= len(state) <= 3 and isinstance(inner := next(iter(state.values())), dict):
        state = inner  # {"state_dict": {...}}
    if isinstance(state, dict) and len(state) > 3 and all(isinstance(v, dict) for v in state.values()):
        raise WeightsError(f"{path} holds {len(state)} networks, as KAIR's IRCNN does; expected one.")
    if not state or not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict, or an empty one.")
    try:
        net = _drunet(state) if "m_head.weight" in state else _dncnn(state)
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        message = str(error).partition(chr(10))[0]
        raise WeightsError(f"{path} fits neither DnCNN nor DRUNet, KAIR's or deepinv's: {message}") from None
    return net.eval().requires_grad_(False)


def _drunet(state: dict[str, Tensor]) -> Network:
    widths = [state[f"m_up{i}.0.weight"].shape[1] for i in (1, 2, 3)]
    blocks = len([k for k in state if k.startswith("m_body.") and k.endswith(".res.0.weight")])
    top = state["m_up3.0.weight"].shape[0]
    net = DRUNet(state["m_tail.weight"].shape[0], (widths[0], widths[1], widths[2], top), blocks)
    net.load_state_dict(state)
    return net


def _dncnn(state: dict[str, Tensor]) -> Network:
    """A chain of 3×3 convolutions in the order of the file."""
    names = [k.removesuffix(".weight") for k, v in state.items() if k.endswith(".weight") and v.ndim == 4]
    if names and names[0] == "in_conv":  # deepinv's order: in_conv, conv_list.0, ..., out_conv
        names = sorted(names, key=lambda n: (n != "in_conv", n == "out_conv", int((n + ".0").split(".")[1])))
    if len(names) < 3 or len(names) != len([k for k in state if k.endswith(".weight")]):
        raise ValueError("it is not a plain chain of convolutions; merge batch normalisation into them first")
    first, last = state[f"{names[0]}.weight"], state[f"{names[-1]}.weight"]
    if "model." in names[0] and first.shape[1] == last.shape[0] + 1:
        raise ValueError("it looks like KAIR's FDnCNN or FFDNet, which give the picture and not the noise")
    if "model." in names[0] and len(names) == 7:
        raise ValueError("it looks like KAIR's IRCNN, whose seven convolutions are dilated")
    bias = f"{names[0]}.bias" in state
    net = DnCNN(last.shape[0], len(names), first.shape[0], bias, first.shape[1] != last.shape[0])
    sign = -1 if names[0] == "in_conv" else 1  # deepinv adds the output to the picture, KAIR subtracts it
    with torch.no_grad():
        for name, layer in zip(names, net.layers, strict=True):
            factor = sign if name == names[-1] else 1
            for kind in ("weight", "bias") if bias else ("weight",):
                target, value = getattr(layer, kind), state[f"{name}.{kind}"]
                if target.shape != value.shape:
                    raise ValueError(f"{name}.{kind} has shape {tuple(value.shape)}, expected {tuple(target.shape)}")
                target.copy_(factor * value)
    return net


def export(net: Network, name: str, record: dict[str, Any], folder: Path) -> None:
    """Write NAME.safetensors and its record.

    Large networks in float16: half the size, and finer than bfloat16, which runs them.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if sum(p.numel() for p in net.parameters()) > 100_000 else torch.float32
    data = save({key: value.detach().to("cpu", dtype).contiguous() for key, value in net.state_dict().items()})
    config = net.config()
    records = manifest(folder) | {name: {"config": config, **record, "sha256": hashlib.sha256(data).hexdigest()}}
    with atomic.together():
        atomic.write(folder / f"{name}.safetensors", data)
        atomic.write(folder / "manifest.json", json.dumps(records, indent=1) + "\n")
