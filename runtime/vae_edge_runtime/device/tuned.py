"""What ``vae-edge tune`` found fastest on this device, for sessions that leave everything to ``auto``.

One JSON file per bundle. It is believed only on the machine that it was measured on, with the engines that
were measured; ``VAE.info`` shows that, and why, it was followed.
"""

from __future__ import annotations

import os

from ..errors import BundleError, OptionError, StorageError
from ..format import strict_json
from ..record import record
from .cache import cache_folder, check_private, private_folder
from .devices import engines, rows_for
from .machine import cpu_model, usable_cores

FORMAT = 2


@record(frozen=True)
class Choice:
    """What to run, where it was measured, and why.

    Attributes:
        variant, device, threads, spin: as ``load`` takes them.
        cpu, usable_cores, engines: of the machine; engines with their versions.
        why: one sentence with figures.
    """

    format: int
    bundle_id: str
    variant: str
    device: str
    threads: int | None
    spin: bool | None
    cpu: str
    usable_cores: int
    engines: dict[str, str]
    why: str


def find_choice(bundle_id: str, folder: str | os.PathLike[str] | None = None) -> Choice | None:
    """The choice for a bundle on this machine.

    None where there is no choice, or it is for another machine or engine, or for a device or an option that the
    table does not have.
    """
    name = f"{bundle_id}.json"
    try:
        where = cache_folder("tuned", folder)
        check_private(where)  # before anything in it is opened: a pipe of another user would never end
        descriptor = os.open(f"{where}/{name}", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            raw = file.read(strict_json.MAX_BYTES + 1)
        choice = strict_json.build(Choice, strict_json.parse(raw, member=name), member=name)
        rows_for(choice.device, {"threads": choice.threads, "spin": choice.spin})
    except (OSError, BundleError, OptionError):  # StorageError is an OSError: a user without a home has no choices
        return None
    here = (FORMAT, bundle_id, *this_machine())
    there = (choice.format, choice.bundle_id, choice.cpu, choice.usable_cores, choice.engines)
    return choice if there == here else None


def store_choice(choice: Choice, folder: str | os.PathLike[str] | None = None) -> str:
    """Write a choice, replacing an older one; its path.

    Raises:
        StorageError: it cannot be written. OptionError: the folder is open to others.
    """
    from ..storage.files import write_atomic  # brings tempfile, which no session needs

    path = f"{private_folder(cache_folder('tuned', folder))}/{choice.bundle_id}.json"
    write_atomic(path, [strict_json.dump(choice)])
    return path


def forget_choice(bundle_id: str, folder: str | os.PathLike[str] | None = None) -> bool:
    """Remove the choice for a bundle; False where there was none.

    Raises:
        StorageError: there is one, and it cannot be removed.
    """
    try:
        os.remove(f"{cache_folder('tuned', folder)}/{bundle_id}.json")  # noqa: PTH107
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"the tuned choice cannot be removed: {error.strerror or error}") from error
    return True


def this_machine() -> tuple[str, int, dict[str, str]]:
    """CPU, cores this process may use, and installed engines with their versions."""
    from importlib import metadata  # some 20 ms, which only who has a choice to compare pays

    versions = {}
    for name in (name for engine in engines() for name in engine.distributions):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return _cpu(), usable_cores() or os.cpu_count() or 1, versions


def _cpu() -> str:
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        text = ""
    return f"{platform.machine()} {cpu_model(text) or platform.processor() or 'unknown'}"
