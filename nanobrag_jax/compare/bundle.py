"""A folder to attach to a report: command lines, versions and machine, metrics, files, and the sha256 of each."""

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ..errors import InputError
from ..io.atomic import write_whole
from ..io.text import read_bytes, reason

PACKAGES = ("nanobrag_jax", "jax", "jaxlib", "numpy", "equinox", "matplotlib", "h5py", "fabio")


class Bundle:
    """A new folder that files are put into; `close` adds what describes them.

    Raises InputError if the folder cannot be made, or holds something already.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self._inputs: list[dict] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            taken = any(self.folder.iterdir())
        except OSError as error:
            raise InputError(f"cannot make the folder {os.fspath(folder)!r} for a bundle: {reason(error)}") from error
        if taken:
            raise InputError(f"the folder {os.fspath(folder)!r} is not empty; a bundle needs a new one")

    def path(self, name: str) -> Path:
        """Where a file of the bundle belongs."""
        return self.folder / name

    def add(self, name: str, content: str | bytes) -> None:
        """Put a file into the folder."""
        write_whole(self.path(name), content.encode() if isinstance(content, str) else content)

    def note_input(self, path: str | os.PathLike[str]) -> None:
        """List a file that was used: its name, size and sha256. The file itself stays where it is."""
        data = read_bytes(os.fspath(path).partition("::")[0], "input")
        digest = hashlib.sha256(data).hexdigest()
        self._inputs.append({"name": os.fspath(path), "bytes": len(data), "sha256": digest})

    def close(self, commands: Sequence[Sequence[str]], metrics: Mapping) -> None:
        """Write commands.txt, environment.json, metrics.json, inputs.json and, last, SHA256SUMS of everything."""
        self.add("commands.txt", "".join(shlex.join(map(str, command)) + "\n" for command in commands))
        self.add("environment.json", _json(environment()))
        self.add("metrics.json", _json(metrics))
        self.add("inputs.json", _json(self._inputs))
        names = sorted(entry.name for entry in self.folder.iterdir() if entry.is_file())
        sums = [f"{hashlib.sha256(self.path(name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        self.add("SHA256SUMS", "".join(sums))


def environment() -> dict:
    """Versions and machine, without names of users or hosts."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))},
    }


def _processor() -> str:
    """The processor's name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _json(content) -> str:
    return json.dumps(content, indent=1) + "\n"
