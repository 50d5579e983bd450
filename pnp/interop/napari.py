"""A widget for napari: choose an image layer, say what the camera did, press Run.

`restored` and `as_layer` do the work and need no napari; `widget` is what napari opens.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from ..files import ranges
from ..jobs import restore
from ..progress import Doing, Listener, doing, heard, part
from ..specs import number

# of the layer that was restored
KEPT = ("scale", "translate", "rotate", "shear", "affine", "opacity", "blending", "colormap", "contrast_limits",
        "gamma", "interpolation2d", "axis_labels", "units", "metadata")  # fmt: skip
COLOURLESS = ("colormap", "contrast_limits", "gamma")  # of a grey layer, without a meaning for a colour one
LayerTuple = tuple[Any, dict[str, Any], str]  # data, settings and kind, as napari has them
TICK = 100  # milliseconds between two looks at the progress


class Wish(NamedTuple):
    """What to do with a layer: specs as on the command line; noise and sigma are None where pnp finds them."""

    operator: str
    prior: str
    noise: str | None = None
    sigma: float | None = None

    @classmethod
    def typed(cls, operator: str, prior: str, noise: str, sigma: str) -> Wish:
        """From the text of the fields.  Raises ValueError."""
        try:
            level = number(sigma) if sigma.strip() else None
        except ValueError:
            raise ValueError(f"sigma is {sigma!r}; expected a number such as 0.05 or 25/255.") from None
        if not operator.strip():
            raise ValueError("Say what the camera did: identity, or blur:std=2.")
        return cls(operator.strip(), prior.strip() or "unet", noise.strip() or None, level)


class Restored(NamedTuple):
    """The data of a restored layer, whether its last axis is colour, and the record of each page."""

    data: np.ndarray
    rgb: bool
    records: list[dict[str, Any]]


def restored(data: Any, rgb: bool, wish: Wish, hear: Listener | None = None) -> Restored:
    """Restore the pages (..., H, W), or (..., H, W, 3 or 4) where rgb, one by one; all have one black and one white.

    The alpha channel stays.  hear: told of the progress.  Raises ValueError, TypeError, KeyboardInterrupt.
    """
    array = np.asarray(data)
    plane = 3 if rgb else 2
    lead = array.shape[: array.ndim - plane]
    pages = array.reshape(-1, *array.shape[array.ndim - plane :])
    colours = pages[..., :3] if rgb else pages[..., None]
    if array.dtype.kind not in "iuf":
        raise TypeError(f"The layer has {array.dtype.name} values; expected integers or floats.")
    if not len(pages):
        raise ValueError("The layer is empty.")
    ends = ranges.settled(ranges.asked(None), colours, ranges.full(array.dtype))
    made, records = [], []
    with heard(hear):
        for i, page in enumerate(pages):
            with part("page", i + 1, len(pages)):
                doing("begun")
                done = restore(page[..., :3] if rgb else page, operator=wish.operator, prior=wish.prior,
                               noise=wish.noise, sigma=wish.sigma, range=(ends.black, ends.white))  # fmt: skip
            if "interrupted" in done.record.status:
                raise KeyboardInterrupt
            made.append(_with_alpha(done.picture, page) if rgb else done.picture)
            records.append(done.record.to_json())
    stack = np.stack(made)
    return Restored(stack.reshape(*lead, *stack.shape[1:]), rgb or made[0].ndim > 2, records)


def _with_alpha(picture: np.ndarray, page: np.ndarray) -> np.ndarray:
    """The alpha channel of the page beside the picture, where it has one of this size."""
    if page.shape[-1] < 4 or picture.shape[:2] != page.shape[:2]:
        return picture
    return np.concatenate([picture, page[..., 3:]], axis=-1)


def as_layer(layer: LayerTuple, done: Restored) -> LayerTuple:
    """A layer's data tuple -> that of its restored layer: in its place, looking like it, with the record as metadata.

    A picture that has grown has smaller pixels, so that both cover the same area.
    """
    data, state, _ = layer
    made = {name: state[name] for name in KEPT if name in state}
    if done.rgb and not state["rgb"]:
        made = {name: value for name, value in made.items() if name not in COLOURLESS}
    before, after = (_sides(x, rgb) for x, rgb in ((data, state["rgb"]), (done.data, done.rgb)))
    scale, translate = (np.array(state[name], dtype=float) for name in ("scale", "translate"))
    finer = scale * before / after
    record = done.records[0] if len(done.records) == 1 else done.records
    return (
        done.data,
        {
            **made,
            "name": f"{state['name']} restored",
            "rgb": done.rgb,
            "scale": finer,
            "translate": translate + (finer - scale) / 2,  # the first pixel's centre; its outer corner stays
            "metadata": {**made.get("metadata", {}), "pnp": record},
        },
        "image",
    )


def _sides(data: Any, rgb: bool) -> np.ndarray:
    """The lengths of the axes that a scale is for."""
    return np.array(data.shape[:-1] if rgb else data.shape, dtype=float)


class Run:
    """A restoration in a thread: what it is doing, and the way to end it between two iterations."""

    def __init__(self, layer: LayerTuple, wish: Wish) -> None:
        self.layer, self.wish = layer, wish
        self.now = Doing("begun")
        self.ended = threading.Event()

    def go(self) -> LayerTuple | str | None:
        """The layer to add, what went wrong, or None where it was ended."""
        data, state, _ = self.layer
        try:
            return as_layer(self.layer, restored(data, state["rgb"], self.wish, self._hear))
        except KeyboardInterrupt:
            return None
        except Exception as error:  # whatever it is, napari is to live on
            return " ".join(str(error).split()) or type(error).__name__  # an error that is returned, Qt raises

    def _hear(self, now: Doing) -> None:
        self.now = now
        if self.ended.is_set():
            raise KeyboardInterrupt


def widget() -> Any:
    """The widget, a magicgui Container with fields for layer, operator, prior, noise and sigma, Run and Cancel."""
    return _Panel().container


class _Panel:
    """The fields and what their buttons do."""

    def __init__(self) -> None:
        from magicgui.widgets import Container, Label, LineEdit, ProgressBar, PushButton, create_widget
        from napari.layers import Image
        from qtpy.QtCore import QTimer

        def field(name: str, value: str, tip: str) -> Any:
            return LineEdit(name=name, value=value, tooltip=tip)

        self.layer = create_widget(annotation=Image, label="layer")
        self.operator = field("operator", "identity", "What the camera did: identity (noise alone), blur:std=2, "
                              "blur:kernel=/path/psf.tif, blur:kernel=disk,radius=?")  # fmt: skip
        self.prior = field("prior", "unet", "What pictures look like: unet, tv, nlm, ...")
        self.noise = field("noise", "", "How the noise falls: poisson, clipped, ... Empty: found in the picture.")
        self.sigma = field("sigma", "", "Noise level, black to white is 1: 0.05 or 25/255. Empty: estimated.")
        self.start, self.stop = PushButton(text="Run"), PushButton(text="Cancel", enabled=False)
        self.bar, self.said = ProgressBar(value=0, max=1, label="progress"), Label(value="")
        self.container = Container(widgets=[self.layer, self.operator, self.prior, self.noise, self.sigma, self.start,
                                            self.stop, self.bar, self.said])  # fmt: skip
        self.said.native.setWordWrap(True)
        self.container.panel = self  # lives as long as its fields
        self.run: Run | None = None
        self.timer = QTimer(self.container.native)
        self.timer.setInterval(TICK)
        self.timer.timeout.connect(self._look)
        self.start.changed.connect(self._begin)
        self.stop.changed.connect(self._end)
        self.container.native.destroyed.connect(self._end)

    def _begin(self, *_: object) -> None:
        from napari.qt.threading import create_worker

        if self.run is not None:
            return
        try:
            run = self._asked()
        except ValueError as error:
            self._tell_error(str(error))
            return
        self.run = run
        self._busy(True)
        create_worker(run.go, _connect={"returned": self._returned})

    def _asked(self) -> Run:
        layer = self.layer.value
        if layer is None:
            raise ValueError("There is no image layer. Open a picture first.")
        data, state, kind = layer.as_layer_data_tuple()
        wish = Wish.typed(self.operator.value, self.prior.value, self.noise.value, self.sigma.value)
        return Run((data[0] if state.get("multiscale") else data, state, kind), wish)

    def _end(self, *_: object) -> None:
        if self.run is not None:
            self.run.ended.set()

    def _look(self) -> None:
        """Show what the thread is doing."""
        if self.run is not None:
            now = self.run.now
            self.bar.max, self.bar.value = now.total or 0, now.done if now.total else 0  # of 0: going back and forth
            self.said.value = str(now)

    def _returned(self, outcome: LayerTuple | str | None) -> None:
        import napari
        from napari.layers import Layer

        self.run = None
        self._busy(False)
        if isinstance(outcome, str):
            self._tell_error(outcome)
        elif outcome is None:
            self.said.value = "cancelled"
        elif (viewer := napari.current_viewer()) is not None:
            layer = viewer.add_layer(Layer.create(*outcome))
            records = layer.metadata["pnp"]
            verdicts = [line for record in ([records] if isinstance(records, dict) else records)
                        for line in record["verdict"]]  # fmt: skip
            self.said.value = "\n".join(dict.fromkeys(verdicts))

    def _busy(self, busy: bool) -> None:
        self.start.enabled, self.stop.enabled = not busy, busy
        (self.timer.start if busy else self.timer.stop)()
        self.bar.max, self.bar.value = 1, 0

    def _tell_error(self, text: str) -> None:
        from napari.utils.notifications import show_error

        self.said.value = ""
        show_error(f"pnp: {text}")
