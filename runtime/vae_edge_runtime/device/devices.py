"""Every device that ``load`` takes, one row each: the one place that knows a device by its name.

``load``, ``vae-edge tune``, the choice that it keeps, ``doctor``, the help of the commands and the errors read
this table. A new engine is a file in ``backends/`` and a row here. An app may also ``register`` a row of its own
before it calls ``load``. Nothing here imports an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import OptionError
from ..record import record

AUTO = "auto"
"""Not a device but the wish for the best one here: the rows with a rank, in that order."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


OPTIONS: dict[str, tuple[Callable[[object], bool], str]] = {
    "threads": (_is_count, "a whole number from 1"),
    "spin": (lambda value: isinstance(value, bool), "True or False"),
}
"""Options that a device may take: whether a value is valid, and the valid ones in words."""


@record(frozen=True)
class Engine:
    """A package that runs graphs.

    Attributes:
        package: its import name. title: its name in messages.
        backend: ``module:Class``, imported when a session opens. The class takes ``GraphBytes`` and ``DeviceOptions``.
        extra: of vae-edge, which installs it; None where no extra does.
        distributions: names that it may be installed under. A choice of ``tune`` holds their versions.
        oldest: first version that works.
        providers_by: function of the package that lists what its build has; empty where there is no such list.
    """

    package: str
    title: str
    backend: str
    extra: str | None = None
    distributions: tuple[str, ...] = ()
    oldest: tuple[int, ...] = (0,)
    providers_by: str = ""

    def __post_init__(self) -> None:
        module, colon, name = self.backend.partition(":")
        if not (module and colon and name):
            raise OptionError(f"the backend of {self.title} is {self.backend!r}; write module:Class")

    @property
    def install(self) -> str:
        """What to type where it is missing."""
        return f'pip install "vae-edge[{self.extra}]"' if self.extra else f"install {self.title}"


@record(frozen=True)
class Candidate:
    """One way to run a device.

    Attributes:
        mode: what the engine is to do, in its own words: an execution provider, a precision.
    """

    engine: Engine
    mode: str = ""


@record(frozen=True)
class Device:
    """One row of the table.

    Attributes:
        name: as ``load(device=...)`` takes it. help: one line.
        candidates: engines in the order in which they are tried.
        exact: computes in float32, as the golden vectors of a bundle were made. Backends of GPUs allow TF32, which
            keeps 10 bits of each factor, where it is False and nowhere else.
        gpu: needs an NVIDIA GPU.
        takes: options of ``OPTIONS`` that it takes. tuned: those of them that ``vae-edge tune`` tries values of.
        auto_rank: place in the order that ``auto`` tries, the smallest first; None where ``auto`` leaves it out.
        fallback: device to run on where this one is not to be had and a fallback is allowed; None: there is none.
        free_size: runs a graph on rows of any height and width, where the bundle lets them be free.
        prepare_at_start: load the graph ``score`` when a session opens, as only trying says whether the device works.
    """

    name: str
    help: str
    candidates: tuple[Candidate, ...]
    exact: bool = True
    gpu: bool = False
    takes: tuple[str, ...] = ()
    tuned: tuple[str, ...] = ()
    auto_rank: int | None = None
    fallback: str | None = "cpu"
    prepare_at_start: bool = True
    free_size: bool = True

    def __post_init__(self) -> None:
        if not self.candidates:
            raise OptionError(f"device {self.name!r} names no engine")
        if unknown := set(self.takes) - set(OPTIONS):
            raise OptionError(f"device {self.name!r} takes {min(unknown)!r}; valid are {', '.join(OPTIONS)}")
        if unknown := set(self.tuned) - set(self.takes):
            raise OptionError(f"device {self.name!r} is tuned by {min(unknown)!r}, which it does not take")


ONNXRUNTIME = Engine(
    package="onnxruntime",
    title="ONNX Runtime",
    backend="vae_edge_runtime.backends.ort:OrtBackend",
    extra="cpu",
    distributions=("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    oldest=(1, 17),
    providers_by="get_available_providers",
)
OPENVINO = Engine(
    package="openvino",
    title="OpenVINO",
    backend="vae_edge_runtime.backends.openvino:OpenVinoBackend",
    extra="openvino",
    distributions=("openvino",),
    oldest=(2024, 4),
)
TENSORRT = Engine(
    package="tensorrt",
    title="TensorRT",
    backend="vae_edge_runtime.backends.tensorrt.backend:TensorRtBackend",
    distributions=("tensorrt",),
    oldest=(10, 3),
)

_TABLE: dict[str, Device] = {
    row.name: row
    for row in (
        Device(
            name="cpu",
            help="ONNX Runtime on the CPU",
            candidates=(Candidate(ONNXRUNTIME, "CPUExecutionProvider"),),
            takes=("threads", "spin"),
            tuned=("threads", "spin"),
            auto_rank=2,
            fallback=None,
            prepare_at_start=False,  # whoever only decodes never loads score
        ),
        Device(
            name="openvino",
            help="OpenVINO on the CPU in float32",
            candidates=(Candidate(OPENVINO, "f32"),),
            takes=("threads",),
            tuned=("threads",),
        ),
        Device(
            name="openvino-bf16",
            help="OpenVINO on a CPU that computes in bfloat16: faster, scores have 2 to 3 digits",
            candidates=(Candidate(OPENVINO, "bf16"),),
            exact=False,
            takes=("threads",),
            tuned=("threads",),
        ),
        Device(
            name="cuda",
            help="ONNX Runtime on an NVIDIA GPU",
            candidates=(Candidate(ONNXRUNTIME, "CUDAExecutionProvider"),),
            gpu=True,
            takes=("threads", "spin"),  # of the nodes that CUDA leaves to the CPU
            auto_rank=1,
        ),
        Device(
            name="cuda-tf32",
            help="ONNX Runtime on an NVIDIA GPU that multiplies in TF32: faster, scores have 3 digits",
            candidates=(Candidate(ONNXRUNTIME, "CUDAExecutionProvider"),),
            exact=False,
            gpu=True,
            takes=("threads", "spin"),
        ),
        Device(
            name="tensorrt",
            help="TensorRT on an NVIDIA GPU, by itself or by ONNX Runtime",
            candidates=(Candidate(TENSORRT), Candidate(ONNXRUNTIME, "TensorrtExecutionProvider")),
            gpu=True,
            free_size=False,
        ),
        Device(
            name="tensorrt-tf32",
            help="TensorRT on an NVIDIA GPU that multiplies in TF32: faster, scores have 3 digits",
            candidates=(Candidate(TENSORRT),),
            exact=False,
            gpu=True,
            free_size=False,
        ),
    )
}


def devices() -> tuple[Device, ...]:
    """All rows, in the order in which they are listed and, by ``tune``, preferred."""
    return tuple(_TABLE.values())


def device_names() -> tuple[str, ...]:
    """What ``load(device=...)`` takes."""
    return (AUTO, *_TABLE)


def engines() -> tuple[Engine, ...]:
    """Every engine of the table once."""
    return tuple({c.engine.package: c.engine for row in devices() for c in row.candidates}.values())


def find_device(name: str) -> Device:
    """The row of a device.

    Raises:
        OptionError: there is no such device; the message lists all.
    """
    if name not in _TABLE:
        raise OptionError(f"device is {name!r}; valid are {', '.join(device_names())}")
    return _TABLE[name]


def register(device: Device) -> None:
    """Add a row, for this process.

    Args:
        device: a row with a name of its own, whose fallback is in the table and takes all of its options.

    Raises:
        OptionError: the name is taken, or the fallback does not fit.

    Example:
        >>> mine = Engine(package="mine", title="Mine", backend="mine.backend:Backend")
        >>> register(Device(name="mine", help="Mine on its own chip", candidates=(Candidate(mine),)))  # doctest: +SKIP
    """
    if device.name in device_names():
        raise OptionError(f"device {device.name!r} is already in the table: choose another name")
    if device.fallback is not None and (missing := set(device.takes) - set(find_device(device.fallback).takes)):
        raise OptionError(f"{device.fallback!r}, the fallback of {device.name!r}, does not take {min(missing)}")
    _TABLE[device.name] = device


def rows_for(name: str, wishes: Mapping[str, object]) -> tuple[Device, ...]:
    """The rows that a wish stands for, in the order in which to try them.

    Args:
        name: a device, or ``auto``.
        wishes: options by name; None means that an option was not given.

    Raises:
        OptionError: no such device, a value that is not valid, or an option that the device does not take.
    """
    rows = _ranked() if name == AUTO else (find_device(name),)
    for option, value in wishes.items():
        valid, text = OPTIONS[option]
        if value is None:
            continue
        if not valid(value):
            raise OptionError(f"{option} is {value!r}; pass {text}, or None for the engine's choice")
        rows = tuple(row for row in rows if option in row.takes)
        if not rows:
            raise OptionError(
                f"{option} is {value!r}, and device {name!r} does not take {option}; "
                f"devices that do: {', '.join(_takers(option))}"
            )
    return rows


def takes(name: str, option: str) -> bool:
    """Whether a device, or one that ``auto`` tries, takes an option.

    Raises:
        OptionError: there is no such device.
    """
    return any(option in row.takes for row in rows_for(name, {}))


def auto_text() -> str:
    """What ``auto`` tries, in words: ``cuda, else cpu``."""
    return ", else ".join(row.name for row in _ranked())


def help_text() -> str:
    """All rows in one sentence, for the help of commands."""
    return "; ".join((f"{AUTO} ({auto_text()})", *(f"{row.name} ({row.help})" for row in devices())))


def _ranked() -> tuple[Device, ...]:
    ranked = [(row.auto_rank, row) for row in devices() if row.auto_rank is not None]
    return tuple(row for _, row in sorted(ranked, key=lambda pair: pair[0]))


def _takers(option: str) -> list[str]:
    return [name for name in device_names() if takes(name, option)]
