"""What ``vae-edge tune`` found fastest on this device, for sessions that leave everything to ``auto``.

One JSON file per bundle. It is believed only on the machine that it was measured on, with the engines that
were measured; ``VAE.info`` shows that, and why, it was followed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import strict_json
from ._cache import cache_root, private_folder
from .errors import BundleError, OptionError

FORMAT = 1
_ENGINES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")


@dataclass(frozen=True)
class Choice:
    """What to run, where it was measured, and why.

    Attributes:
        variant, device, threads: as ``load`` takes them.
        cpu, usable_cores, engines: of the machine; engines with their versions.
        why: one sentence with figures.
    """

    format: int
    bundle_id: str
    variant: str
    device: str
    threads: int | None
    cpu: str
    usable_cores: int
    engines: dict[str, str]
    why: str


def find_choice(bundle_id: str, folder: str | os.PathLike[str] | None = None) -> Choice | None:
    """The choice for a bundle on this machine; None where there is none, or one for another machine or engine."""
    path = _path(bundle_id, folder)
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    try:
        private_folder(path.parent)
        found = strict_json.build(Choice, strict_json.parse(raw, member=path.name), member=path.name)
    except (BundleError, OptionError):
        return None
    here = (FORMAT, bundle_id, *this_machine())
    there = (found.format, found.bundle_id, found.cpu, found.usable_cores, found.engines)
    return found if there == here else None


def store_choice(choice: Choice, folder: str | os.PathLike[str] | None = None) -> Path:
    """Write a choice, replacing an older one.

    Raises:
        StorageError: it cannot be written. OptionError: the folder is open to others.
    """
    from ._fs import write_atomic  # brings tempfile, which no session needs

    path = _path(choice.bundle_id, folder)
    private_folder(path.parent)
    write_atomic(path, [strict_json.dump(choice)])
    return path


def forget_choice(bundle_id: str, folder: str | os.PathLike[str] | None = None) -> bool:
    """Remove the choice for a bundle; False where there was none."""
    path = _path(bundle_id, folder)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def this_machine() -> tuple[str, int, dict[str, str]]:
    """CPU, cores this process may use, and installed engines with their versions."""
    from importlib import metadata  # some 20 ms, which only who has a choice to compare pays

    found = {}
    for name in _ENGINES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _cpu(), cores, found


def _cpu() -> str:
    import platform

    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^(?:model name|Model)[ \t]*:[ \t]*(\S.*)$", text, flags=re.MULTILINE)
    return f"{platform.machine()} {named[1].strip() if named else platform.processor() or 'unknown'}"


def _path(bundle_id: str, folder: str | os.PathLike[str] | None) -> Path:
    return cache_root(folder) / "tuned" / f"{bundle_id}.json"
