"""The parent: it starts children that read, and ends those that take too long."""

import os
import queue
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

SECONDS_PER_INPUT = 20.0
ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """What became of the inputs of one reader."""

    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many there were."""
        return self.read + self.refused + len(self.faults)


def fuzz(readers: list[str], seed: str, start: int, count: int, folder: Path) -> dict[str, Tally]:
    """Read `count` damaged inputs with each reader, from number `start`. **Arguments:** `folder`: of the samples."""
    tallies = {name: Tally() for name in readers}
    left = [(name, start, count) for name in readers]
    while left:
        done = _one_child(left, seed, folder, tallies)
        left = _after(left, done)
    return tallies


def _after(left: list[tuple[str, int, int]], done: tuple[str, int] | None) -> list[tuple[str, int, int]]:
    """What remains after the last input of a child that ended early; nothing after one that came to its end."""
    if done is None:
        return []
    names = [name for name, _, _ in left]
    rest = left[names.index(done[0]) :]
    name, start, count = rest[0]
    first = (name, done[1] + 1, start + count - done[1] - 1)
    return [first, *rest[1:]] if first[2] else rest[1:]


def _one_child(
    left: list[tuple[str, int, int]], seed: str, folder: Path, tallies: dict[str, Tally]
) -> tuple[str, int] | None:
    """Run a child as far as it comes; the input that ended it, None for the last."""
    words = [str(word) for triple in left for word in triple]
    command = [sys.executable, "-m", "tests.fuzz.child", seed, str(folder), *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    lines: queue.Queue[str | None] = queue.Queue()
    said: list[str] = []
    threads = [
        threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True),
        threading.Thread(target=lambda: said.extend(child.stderr or []), daemon=True),
    ]
    for thread in threads:
        thread.start()
    at: tuple[str, int] | None = None
    try:
        while True:
            try:
                line = lines.get(timeout=SECONDS_PER_INPUT if at else 120.0)
            except queue.Empty:
                if at is None:
                    raise RuntimeError("the child does not start") from None
                tallies[at[0]].faults.append(f"{at[1]}: hangs")
                return at
            if line is None:
                break
            name, index, outcome = line.rstrip("\n").split("\t", 2)
            if outcome == "start":
                at = (name, int(index))
            else:
                at = None if (name, int(index)) == _last(left) else (name, int(index))
                _count(tallies[name], index, outcome)
    finally:
        child.kill()
        child.wait()
        for thread in threads:
            thread.join()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(folder / f"work{child.pid}", ignore_errors=True)
    if at is not None:
        tallies[at[0]].faults.append(f"{at[1]}: the process ends with {child.returncode}: {''.join(said)[-300:]!r}")
    return at


def _last(left: list[tuple[str, int, int]]) -> tuple[str, int]:
    name, start, count = left[-1]
    return name, start + count - 1


def _count(tally: Tally, index: str, outcome: str) -> None:
    if outcome == "read":
        tally.read += 1
    elif outcome == "refused":
        tally.refused += 1
    else:
        tally.faults.append(f"{index}: {outcome.removeprefix('fault: ')}")


def _pump(stream, lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
