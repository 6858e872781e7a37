"""``vae-edge train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge.data import Dataset
from vae_edge.data.fitting import check_fit
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import InputSpec, Layout
from vae_edge_runtime.text import counted

from . import _console, _options, _rows

if TYPE_CHECKING:
    from vae_edge.training import EpochReport

NAME = "train"
EXAMPLE = "vae-edge train conv --data good_parts/ --latent 16 --epochs 40 -o run"

PICTURE_VARIANCE = 0.005
"""Of 8-bit pictures, divided by 255: a standard deviation of 18 levels. With the variance that ``mse`` stands for, 1/2,
the KL of a latent costs more than the details that it buys."""
_LARGE_SIDE = 32
_FEW_ROWS, _SMALL_BATCH = 4096, 16
"""240 pictures are four steps an epoch by 64 and fifteen by 16, in the same time. On the cup of the inspection
benchmark the AUROC of ``top`` was 0.76 after ten epochs by 64, and 0.99 by 16 (at a higher learning rate). On 2,160
tiles of the example it was 0.87 after twelve by 64, and 1.00 after eight of a wider model by 16."""
_LOSSES: dict[str, dict[str, Any]] = {
    "mse": {"likelihood": "mse"},
    "bce": {"likelihood": "bernoulli"},
    "gaussian": {"likelihood": "gaussian"},
    "gaussian-learned": {"likelihood": "gaussian", "variance": None},
}


def run(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="conv (images), mlp (tables) or sequence (windows).")],
    data: Annotated[
        Path,
        typer.Option(help="Normal rows: pictures, .npy, .npz, .csv, .tsv, .jsonl or .parquet.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.", show_default=False)],
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    latent: Annotated[
        int | None,
        typer.Option(
            min=1, help="Size of the latent vector; default 16, of pictures from 32 x 32 on 32.", show_default=False
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Channels of the first stage, or hidden units; default 32, of such pictures 24.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="Halvings, or hidden layers; default 2, of such pictures 3.", show_default=False),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="mse, bce, gaussian or gaussian-learned (variance by the decoder); default mse, of 8-bit "
            "pictures gaussian.",
            show_default=False,
        ),
    ] = None,
    variance: Annotated[
        float | None,
        typer.Option(
            help="Of --loss gaussian, in squared model units; default 1, of 8-bit pictures 0.005.", show_default=False
        ),
    ] = None,
    beta: Annotated[float, typer.Option(min=0.0, help="Weight of the KL term; 1 is the ELBO.")] = 1.0,
    anneal_epochs: Annotated[int, typer.Option(min=0, help="beta grows from 0 over these epochs.")] = 0,
    free_bits: Annotated[float, typer.Option(min=0.0, help="Nats of KL per latent that cost nothing.")] = 0.0,
    patience: Annotated[int, typer.Option(min=0, help="Stop after this many epochs without gain; 0: never.")] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Default 64, of conv with fewer than 4,096 rows 16.", show_default=False),
    ] = None,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr")] = 1e-3,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(
            min=0, help="The learning rate grows from 0 over these epochs; default 0, of conv 1.", show_default=False
        ),
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Of the learning rate after the warm-up: constant, or cosine, which falls to 0.")
    ] = "constant",
    augment: Annotated[
        str | None,
        typer.Option(
            help="Change pictures anew in each epoch: shift, brightness, left-right, up-down, comma separated.",
            show_default=False,
        ),
    ] = None,
    perceptual: Annotated[float, typer.Option(min=0.0, help="Of pictures: weight of 1 - SSIM in the loss.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, data and machine: same weights, bit for bit.")] = 0,
    layout: Annotated[
        str | None, typer.Option(help="nchw or nhwc, for arrays of images, which do not say.", show_default=False)
    ] = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    fit: _options.Fit = None,
    tile: _options.Tile = None,
    overlap: _options.Overlap = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start over in a folder that holds a run.")] = False,
    json: _options.Json = False,
) -> None:
    """Train a reference VAE on normal rows; Ctrl-C keeps the last whole epoch, --resume goes on from it.

    uint8 rows are divided by 255; float rows are standardised per feature or channel (not for bce).
    """
    if loss is not None and loss not in _LOSSES:
        raise OptionError(f"loss is {loss!r}; valid are {', '.join(_LOSSES)}")
    if variance is not None and loss != "gaussian" and (loss is not None or kind != "conv"):
        raise OptionError(f"--variance is for --loss gaussian; the loss is {loss or 'mse'}")
    if overlap and tile is None:
        raise OptionError("--overlap is of tiles: say how large a --tile is, too")
    require("torch", extra="export", why="training")
    from vae_edge.models import ModelConfig
    from vae_edge.training import TrainConfig, train
    from vae_edge_export.rows import model_shape

    rows = _rows.read_said(
        data,
        window=window,
        stride=stride,
        columns=_rows.split_columns(columns),
        image_shape=_rows.image_size(image_size),
        fit=check_fit(fit, _rows.image_size(image_size)),
    )
    axes = _layout(kind, rows, layout)
    x = np.ascontiguousarray(rows.x if tile is None else _tiles(rows.x, axes, tile, overlap))
    eight_bits = kind == "conv" and x.dtype == np.uint8
    if loss is None:
        loss = "gaussian" if eight_bits else "mse"
        if variance is not None and not eight_bits:
            raise OptionError("--variance is for --loss gaussian; the loss is mse")
    likelihood = dict(_LOSSES[loss])
    if loss == "gaussian":
        likelihood["variance"] = variance if variance is not None else PICTURE_VARIANCE if eight_bits else 1.0
    large = kind == "conv" and min(model_shape(x.shape[1:], axes)[1:]) >= _LARGE_SIDE
    model = ModelConfig(
        kind=kind,  # type: ignore[arg-type]
        input_shape=model_shape(x.shape[1:], axes),
        latent_dim=latent or (32 if large else 16),
        width=width or (24 if large else 32),
        depth=depth or (3 if large else 2),
        **likelihood,
    )
    config = TrainConfig(
        model=model,
        layout=axes,
        names=rows.names,
        epochs=epochs,
        batch_size=batch_size or (_SMALL_BATCH if kind == "conv" and len(x) < _FEW_ROWS else 64),
        learning_rate=learning_rate,
        warmup_epochs=warmup_epochs if warmup_epochs is not None else int(kind == "conv"),
        schedule=schedule,  # type: ignore[arg-type]
        augment=_augmentations(augment),
        perceptual=perceptual,
        beta=beta,
        anneal_epochs=anneal_epochs,
        free_bits=free_bits,
        patience=patience,
        seed=seed,
    )
    _console.note(
        f"{counted(len(x), 'row')} of {list(x.shape[1:])} {x.dtype}, {axes}; {kind} VAE with "
        f"{counted(model.latent_dim, 'latent')}, "
        f"loss {loss}"
    )
    with _console.progress("training", epochs) as step:

        def report(epoch: EpochReport) -> None:
            step(label=f"epoch {epoch.epoch}")
            _console.note(
                f"epoch {epoch.epoch:>3}  train {epoch.train_loss:10.3f}  validation {epoch.validation_loss:10.3f}  "
                f"= reconstruction {epoch.reconstruction:.3f} + KL {epoch.kl:.3f} nats  {epoch.seconds:.1f} s"
            )

        result = train(config, x, out=output, resume=resume, force=force, progress=report)
    _console.note(f"kept epoch {result.best_epoch} ({result.best_validation_loss:.3f} nats) in {output}")
    reading = _rows.options_to_read_alike(data, image_size=image_size, fit=fit)
    if tile is not None:
        reading += ["--tile", str(tile), "--overlap", str(overlap)]
    _console.next_steps(
        ("export", output, "--calibration", "NORMAL_ROWS", *reading, "-o", "model.vaeb"),
        after="\n      NORMAL_ROWS are rows like these that the model was not trained on",
    )
    if json:
        document = {
            "folder": output,
            "best_epoch": result.best_epoch,
            "best_validation_loss": result.best_validation_loss,
            "stopped_early": result.stopped_early,
            "epochs": [dataclasses.asdict(epoch) for epoch in result.epochs],
        }
        _console.print_json(NAME, document)


def _augmentations(wish: str | None) -> tuple[str, ...]:
    """The names in an option."""
    return () if wish is None else tuple(name.strip() for name in wish.split(","))


def _tiles(x: NDArray[Any], axes: Layout, tile: int, overlap: int) -> NDArray[Any]:
    """Every tile of every picture, (m, ...).

    Raises:
        OptionError: rows are no pictures. InputError: a picture is smaller than a tile.
    """
    if axes not in ("nchw", "nhwc"):
        raise OptionError(f"--tile cuts pictures; these rows have the layout '{axes}'")
    if overlap > tile // 2:
        raise OptionError(f"overlap is {overlap}; it is at most half of a tile, {tile // 2}")
    from vae_edge_runtime.scoring.tiling import check_pictures, cut_tiles

    shape = (x.shape[1], tile, tile) if axes == "nchw" else (tile, tile, x.shape[3])
    spec = InputSpec(shape, str(x.dtype), axes, 0.0, 1.0, (), overlap=overlap)  # type: ignore[arg-type]
    return cut_tiles(check_pictures(x, spec, "training data"), spec, x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3])


def _layout(kind: str, rows: Dataset, wish: str | None) -> Layout:
    """What the axes of the rows are, from the option, the file or the kind of model; never from their sizes."""
    if wish is not None and wish not in ("nchw", "nhwc"):
        raise OptionError(f"layout is {wish!r}; valid are nchw and nhwc")
    if wish is not None and rows.x.ndim != 4:
        raise OptionError(f"layout {wish} is for images (n, 3 axes), these rows have {rows.x.ndim - 1} axes")
    if kind == "conv" and rows.layout != "nhwc" and wish is None:
        raise OptionError("an array of images does not say where its channels are: pass --layout nchw or --layout nhwc")
    known = {2: "features", 3: "time_features"}.get(rows.x.ndim, "any")
    return wish or (rows.layout if rows.layout == "nhwc" else known)  # type: ignore[return-value]
