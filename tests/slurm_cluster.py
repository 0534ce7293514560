"""A Slurm of one node, as root: slurmctld, slurmd and munged with a configuration of their own in a folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "sinfo", "srun")
_READY_S = 60.0


def missing_part() -> str | None:
    """Why there can be no Slurm here; None where there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{absent[0]} is not installed (slurm-wlm, munge)" if absent else None


def _configuration(folder: Path, cores: int) -> str:
    host = socket.gethostname().split(".")[0]
    return f"""
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=0
KillWait=2
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
""".lstrip()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Variables with which Slurm's programs find it. **Raises** `RuntimeError` where it does not come up."""
    for name in ("spool", "state", "munge"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge").chmod(0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o400)
    settings = folder / "slurm.conf"
    settings.write_text(_configuration(folder, os.cpu_count() or 1))
    environment = os.environ | {"SLURM_CONF": str(settings)}
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
         f"--pid-file={folder}/munge/pid", f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed"],
        ["slurmctld", "-D", "-f", str(settings)],
        ["slurmd", "-D", "-f", str(settings)],
    ]  # fmt: skip
    running: list[subprocess.Popen] = []
    try:
        for words in daemons:
            with open(folder / f"{words[0]}.out", "wb") as log:
                running.append(subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True))
            time.sleep(0.5)
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # jobs end before what watches over them
            subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, timeout=10)
            time.sleep(1)
        for daemon in reversed(running):
            daemon.terminate()
        for daemon in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + _READY_S
    said = ""
    while time.monotonic() < deadline:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, env=environment)
        said = done.stdout.strip() or done.stderr.strip()
        if said == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in folder.glob("*.log"))
    raise RuntimeError(f"Slurm did not come up: {said}\n{logs}")
