"""napari: what becomes of a layer, with and without napari; the widget where napari is installed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import pytest

from pnp.interop.napari import Run, Wish, as_layer, restored
from pnp.progress import Doing
from pnp.samples import photograph

UNET, TV = (Wish("identity", prior, sigma=0.05) for prior in ("unet", "tv"))  # one iteration, and many
PLAIN = {"name": "cells", "rgb": False, "scale": np.array([2.0, 2.0]), "translate": np.array([0.0, 10.0]),
         "colormap": "magma", "contrast_limits": [0, 200], "metadata": {"bead": 7}, "visible": False}  # fmt: skip


def noisy(*shape: int, kind: str = "uint8", top: float = 255) -> np.ndarray:
    x = photograph("camera")[0, 0, 100:132, 100:140].numpy()
    x = np.broadcast_to(x if len(shape) == 2 or shape[-1] > 4 else x[..., None], shape)
    noise = np.random.default_rng(0).normal(0, 0.05, shape)
    return (np.clip(x + noise, 0, 1) * top).round().astype(kind)


def test_a_grey_layer_comes_back_in_its_type_and_smoother() -> None:
    data = noisy(32, 40)
    done = restored(data, False, UNET)
    assert done.data.dtype == np.uint8 and done.data.shape == (32, 40) and not done.rgb
    assert np.abs(np.diff(done.data.astype(float))).mean() < 0.8 * np.abs(np.diff(data.astype(float))).mean()
    assert done.records[0]["sigma"]["value"] == 0.05


def test_a_colour_layer_keeps_its_alpha() -> None:
    data = noisy(32, 40, 4)
    data[..., 3] = 99
    done = restored(data, True, UNET)
    assert done.data.shape == (32, 40, 4) and done.rgb and (done.data[..., 3] == 99).all()
    assert (done.data[..., 0] != data[..., 0]).any()


def test_a_stack_is_restored_page_by_page_in_one_range() -> None:
    data = noisy(2, 3, 32, 40, kind="uint16", top=3000)
    data[0] //= 4  # darker pages stay darker
    told: list[str] = []
    done = restored(data, False, UNET, lambda now: told.append(str(now)))
    assert done.data.shape == data.shape and done.data.dtype == np.uint16 and len(done.records) == 6
    assert len({tuple(record["job"]["range"]) for record in done.records}) == 1
    assert done.data[0].mean() < 0.4 * done.data[1].mean()
    assert "page 6 of 6: begun" in told and any("page 2 of 6: iteration" in line for line in told)


def test_a_restored_layer_looks_like_its_layer() -> None:
    data = noisy(32, 40)
    again, state, kind = as_layer((data, PLAIN, "image"), restored(data, False, UNET))
    assert kind == "image" and again.shape == data.shape and state["name"] == "cells restored"
    assert state["colormap"] == "magma" and state["contrast_limits"] == [0, 200] and "visible" not in state
    assert state["metadata"]["bead"] == 7 and "verdict" in state["metadata"]["pnp"]
    assert list(state["scale"]) == [2, 2] and list(state["translate"]) == [0, 10] and PLAIN["metadata"] == {"bead": 7}


def test_a_picture_that_grows_covers_the_same_area() -> None:
    data = noisy(32, 40)
    again, state, _ = as_layer(
        (data, PLAIN, "image"), restored(data, False, Wish("downsample:factor=2", "tv", None, 0.05))
    )
    assert again.shape == (64, 80) and list(state["scale"]) == [1, 1]
    corner = state["translate"] - state["scale"] / 2  # of the first pixel
    assert list(corner) == [0 - 1, 10 - 1]


def test_what_is_typed_becomes_a_wish_or_a_message() -> None:
    assert Wish.typed(" identity ", "", "", "25/255") == Wish("identity", "unet", None, 25 / 255)
    assert Wish.typed("blur:std=2", "tv", "poisson", "") == Wish("blur:std=2", "tv", "poisson", None)
    for wrong, says in (
        (("", "tv", "", ""), "what the camera did"),
        (("identity", "tv", "", "x"), "expected a number"),
    ):
        with pytest.raises(ValueError, match=says):
            Wish.typed(*wrong)


def test_a_run_gives_a_layer_an_error_or_nothing() -> None:
    layer = (noisy(32, 40), PLAIN, "image")
    made = Run(layer, UNET).go()
    assert isinstance(made, tuple) and made[1]["name"] == "cells restored"
    error = Run(layer, Wish("blurr", "tv")).go()
    assert isinstance(error, str) and "Did you mean 'blur'" in error
    assert "bool" in str(Run((np.zeros((4, 4), bool), PLAIN, "image"), TV).go())


def test_a_run_ends_between_two_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    run, steps = Run((noisy(32, 40), PLAIN, "image"), TV), []
    hear = run._hear

    def cancel(now: Doing) -> None:
        if now.what.endswith("iteration"):
            steps.append(now.done)
            run.ended.set()
        hear(now)

    monkeypatch.setattr(run, "_hear", cancel)
    assert run.go() is None and steps == [1]


def test_the_manifest_names_what_is_there() -> None:
    import importlib

    text = resources.files("pnp.interop").joinpath("napari.yaml").read_text(encoding="utf-8")
    (place,) = [line.split(": ", 1)[1] for line in text.splitlines() if "python_name" in line]
    module, _, name = place.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A viewer without its window, whose canvas needs OpenGL."""
    monkeypatch.setenv("QT_QPA_PLATFORM", os.environ.get("QT_QPA_PLATFORM", "offscreen"))
    napari = pytest.importorskip("napari")
    from napari.components import ViewerModel

    made = ViewerModel()
    monkeypatch.setattr(napari, "current_viewer", lambda: made)
    return made


def waited(until: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    while not until():  # a run that hangs hangs the test: no time is a limit on a slow machine
        QApplication.processEvents()
        time.sleep(0.01)


def opened(viewer: Any, **fields: str) -> Any:
    from napari.qt import get_qapp

    from pnp.interop.napari import widget

    get_qapp()
    panel = widget().panel
    panel.layer.choices = lambda _: list(viewer.layers)  # a window would say them
    viewer.layers.events.inserted.connect(panel.layer.reset_choices)
    for name, value in fields.items():
        panel.container[name].value = value
    return panel


def test_the_widget_adds_a_restored_layer(viewer: Any) -> None:
    viewer.add_image(noisy(2, 32, 40), name="cells", scale=(3, 0.5, 0.5), colormap="magma", metadata={"bead": 7})
    panel = opened(viewer, operator="identity", sigma="0.05")
    panel.start.changed.emit(True)
    assert panel.stop.enabled and not panel.start.enabled
    waited(lambda: panel.run is None)
    made = viewer.layers["cells restored"]
    assert made.data.shape == (2, 32, 40) and list(made.scale) == [3, 0.5, 0.5] and made.colormap.name == "magma"
    assert made.metadata["bead"] == 7 and len(made.metadata["pnp"]) == 2
    assert panel.start.enabled and not panel.stop.enabled and panel.said.value


def test_the_widget_tells_errors_and_goes_on(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari.utils import notifications

    told: list[str] = []
    monkeypatch.setattr(notifications, "show_error", told.append)
    panel = opened(viewer, operator="blurr")
    panel.start.changed.emit(True)
    assert "no image layer" in told[-1] and panel.run is None
    viewer.add_image(noisy(32, 40), name="cells")
    panel.start.changed.emit(True)
    waited(lambda: panel.run is None)
    assert "Did you mean 'blur'" in told[-1] and len(viewer.layers) == 1


def test_the_widget_cancels(viewer: Any) -> None:
    viewer.add_image(noisy(32, 40, 3), name="photo")
    panel = opened(viewer, prior="tv", sigma="0.05")
    panel.start.changed.emit(True)
    panel.stop.changed.emit(True)
    waited(lambda: panel.run is None)
    assert panel.said.value == "cancelled" and [layer.name for layer in viewer.layers] == ["photo"]


def test_npe2_takes_the_manifest() -> None:
    npe2 = pytest.importorskip("npe2")
    with resources.as_file(resources.files("pnp.interop").joinpath("napari.yaml")) as path:
        manifest = npe2.PluginManifest.from_file(path)
    manifest.validate_imports()
    assert [w.display_name for w in manifest.contributions.widgets] == ["Restore"]
