"""`python -m benchmarks.child CASE THREADS [watch]`: one case in a process of its own; a line of JSON comes out.

THREADS is how many processors the process keeps to, 0 for all. With `watch`: how the program
was compiled instead of how fast it is. Without a case: what it would run on.
"""

import json
import os
import platform
import sys
import time
from datetime import UTC, datetime


def confine(threads: int) -> None:
    """Keep to some processors, before jax counts them."""
    if threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def machine() -> dict:
    """What the figures are measured on."""
    import jax

    import nanobrag_jax as nb

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "platform": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "nanobrag_jax": nb.__version__,
    }


def processor() -> str:
    """The processor's name, as far as it is told."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = dict(line.split(":", 1) for line in file if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        widest = next((w for w in ("avx512f", "avx2") if w in facts.get("flags", "").split()), "")
        return " ".join(filter(None, (facts.get("model name"), facts.get("cpu family"), facts.get("model"), widest)))
    except OSError:
        return platform.processor()


def main(argv: list[str]) -> int:
    """Run one case."""
    if not argv:
        print(json.dumps(machine()))
        return 0
    confine(int(argv[1]))
    start = time.perf_counter()
    import nanobrag_jax

    importing = time.perf_counter() - start
    assert nanobrag_jax.__version__
    from . import cases, timing

    case = cases.with_threads(os.cpu_count() or 1)[argv[0]]
    if argv[2:] == ["watch"]:
        assert case.build is not None, "a case that builds a program"
        row = timing.watch_row(case.build())
    elif case.build is None:
        row = getattr(timing, case.row)(**case.options or {})
    else:
        row = {"import_seconds": importing, **timing.program_row(case.build())}
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
