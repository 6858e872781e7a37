"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .vaeb file.", show_default=False)]
Source = Annotated[
    Path, typer.Argument(metavar="PATH", help="Folder of images, .npy, .npz, .csv or .parquet.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt: that one, or an error.")]
Variant = Annotated[str, typer.Option(help="auto, or a precision in the bundle.")]
AllowFallback = Annotated[
    bool, typer.Option("--allow-fallback", help="Run on the CPU, visibly, if the device is absent.")
]
Threads = Annotated[
    int | None, typer.Option(help="Threads of one run; default: the engine's choice.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more on stderr: versions, time, the traceback of an error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Window = Annotated[int | None, typer.Option(help="Rows per window of a table.", show_default=False)]
Stride = Annotated[int | None, typer.Option(help="Step between windows; default 1.", show_default=False)]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns of a table, comma separated; default: those of the model.", show_default=False),
]
ImageSize = Annotated[str | None, typer.Option(help="Resize images to HEIGHTxWIDTH, e.g. 64x64.", show_default=False)]
