"""One drawing function, two ways to move it: sliders with a kernel, and a page of ready-made frames without one.

``live(draw, ...)`` and ``flipbook(draw, ...)`` take the same function and the same controls. ``draw`` is called with one
value of every control by name and returns a picture: an array of gray levels (H, W), uint8, or a matplotlib figure.
"""

import base64
import html
import io
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import expect

Draw = Callable[..., np.ndarray | Figure]


def pixels(picture: np.ndarray | Figure) -> np.ndarray:
    """A picture as uint8, (H, W) or (H, W, 3)."""
    if isinstance(picture, Figure):
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        array = np.asarray(canvas.buffer_rgba())[..., :3]
        plt.close(picture)
        return array
    expect(picture.dtype == np.uint8, "draw", f"an array of {picture.dtype}", "uint8 gray levels (H, W) or a matplotlib figure")
    return picture


def png(array: np.ndarray) -> bytes:
    """A uint8 array as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def live(draw: Draw, *, zoom: int = 1, **controls: Sequence[Any]) -> Any:
    """Sliders over the values of each control, starting in the middle; the picture follows. Needs a running kernel.

    zoom: how many times larger a picture is shown. Returns the widget, whose last child is the image; an error that
    ``draw`` raises is shown in place of a picture.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError("live: sliders need ipywidgets, pip install 'tinyldm[lab]'; flipbook works without") from error

    image, problem = ipywidgets.Image(format="png"), ipywidgets.Label()
    sliders = {
        name: ipywidgets.SelectionSlider(options=list(values), index=_middle(values), description=name, continuous_update=False)
        for name, values in controls.items()
    }

    def show(_change: Any = None) -> None:
        try:
            array = pixels(draw(**{name: slider.value for name, slider in sliders.items()}))
        except Exception as error:  # whatever it is, the reader sees it where the picture would be
            problem.value = f"{type(error).__name__}: {error}"
            image.layout.visibility = "hidden"
            return
        problem.value = ""
        image.layout.visibility = "visible"
        image.width, image.height = array.shape[1] * zoom, array.shape[0] * zoom
        image.value = png(array)
        image.layout.object_fit = "fill"

    for slider in sliders.values():
        slider.observe(show, "value")
    show()
    return ipywidgets.VBox([*sliders.values(), problem, image])


class Flipbook:
    """What ``flipbook`` returns: shown as HTML where HTML is shown, as the first frame elsewhere."""

    def __init__(self, page: str, first: bytes) -> None:
        self.page, self.first = page, first

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": self.page, "image/png": base64.b64encode(self.first).decode(), "text/plain": "flipbook"}


def flipbook(draw: Draw, *, zoom: int = 1, **controls: Sequence[Any]) -> Flipbook:
    """Every combination of the controls' values drawn beforehand: the sliders work in a page without kernel or network.

    The frames travel as one image, of which the page shows a part.
    Raises ``ValueError`` for no controls, one without values, or pictures of different sizes.
    """
    names, values = list(controls), [list(v) for v in controls.values()]
    expect(bool(values) and all(values), "controls", controls, "at least one control, and at least one value for each")
    frames = [pixels(draw(**dict(zip(names, chosen, strict=True)))) for chosen in itertools.product(*values)]
    expect(len({f.shape for f in frames}) == 1, "draw", "pictures of different sizes", "one size for all")
    cols = len(values[-1])
    rows = len(frames) // cols
    height, width = frames[0].shape[:2]
    sheet = np.concatenate([np.concatenate(frames[r * cols : (r + 1) * cols], axis=1) for r in range(rows)], axis=0)
    coarse = sheet & 0xF8  # 32 levels are enough for the eye and halve the page
    first = np.ravel_multi_index([_middle(v) for v in values], [len(v) for v in values])
    return Flipbook(_page(names, values, png(coarse), cols, rows, height * zoom, width * zoom), png(frames[first]))


def _middle(values: Sequence[Any]) -> int:
    """Where a slider starts."""
    return len(values) // 2


def _page(names: list[str], values: list[list], sheet: bytes, cols: int, rows: int, height: int, width: int) -> str:
    sliders = "".join(
        f'<label class="row"{" hidden" if len(v) == 1 else ""}><span>{html.escape(n)}</span>'
        f'<input type="range" min="0" max="{len(v) - 1}" value="{_middle(v)}" '
        f'aria-label="{html.escape(n)}"><output></output></label>'
        for n, v in zip(names, values, strict=True)
    )
    texts = json.dumps([[str(x) for x in v] for v in values]).replace("<", "\\u003c")
    look = f"max-width:{width}px;aspect-ratio:{width}/{height};background-size:{100 * cols}% {100 * rows}%;"
    look += f"background-image:url(data:image/png;base64,{base64.b64encode(sheet).decode()})"
    return f"""<div class="flipbook" style="max-width:calc({max(width, 320)}px + 2em)">
<style>.flipbook .row:not([hidden]) {{display: flex; gap: .8em; align-items: center}}
.flipbook .row > :not(input) {{flex: 0 0 5.5em}}
.flipbook input {{flex: 1; min-width: 0}} .flipbook [role=img] {{margin-top: .6em; image-rendering: pixelated}}</style>
{sliders}
<div role="img" aria-label="picture for the chosen values" style="{look}"></div>
<script>(() => {{
  const box = document.currentScript.parentElement, texts = {texts};
  const inputs = [...box.querySelectorAll("input")], outputs = box.querySelectorAll("output");
  const picture = box.querySelector("[role=img]");
  const show = () => {{
    let index = 0;
    inputs.forEach((input, i) => {{
      outputs[i].textContent = texts[i][input.value];
      index = index * texts[i].length + Number(input.value);
    }});
    const share = (k, n) => n > 1 ? `${{100 * k / (n - 1)}}%` : "0%";
    picture.style.backgroundPosition = share(index % {cols}, {cols}) + " " + share(Math.floor(index / {cols}), {rows});
  }};
  inputs.forEach(input => input.addEventListener("input", show));
  show();
}})()</script></div>"""
