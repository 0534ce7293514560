"""`python -m nanobrag_jax.refine stage1 …`: refinement of many shots from DIALS' files."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..io.resumable import run_resumable
from .shots.geometry_command import run_geometry
from .shots.intensities import IntensityRestraints
from .shots.report import write_report
from .shots.stage1 import Settings, run_stage1, settings_in
from .shots.stage2_command import run_stage2


def main(argv: Sequence[str]) -> int:
    """Run one of the commands; the exit status: 0, 1 with a sentence on stderr, 130 after an interruption."""
    options = _parser().parse_args(argv)
    return run_resumable("nanobrag_jax.refine", lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nanobrag_jax.refine", description="Refinement of many shots.")
    commands = parser.add_subparsers(required=True)
    stage1 = commands.add_parser("stage1", help="refine every shot by itself, or go on doing so")
    stage1.add_argument("expt", help="DIALS' experiment list")
    stage1.add_argument("refl", help="its reflection table, indexed")
    stage1.add_argument("-out", required=True, metavar="DIR", help="where the results go")
    stage1.add_argument("-processes", type=int, default=1, metavar="p", help="processes that share the shots")
    stage1.add_argument(
        "-images", metavar="DIR", help="where relative names of images start (default: beside the list)"
    )
    stage1.add_argument("-mtz", metavar="FILE", help="amplitudes; without any, each box has an intensity of its own")
    stage1.add_argument("-hkl", metavar="FILE", help="amplitudes as a text of h k l F")
    stage1.add_argument("-pdb", metavar="FILE", help="amplitudes of a model, to -dmin")
    stage1.add_argument("-dmin", type=float, default=2.0, metavar="A", help="resolution of a model's amplitudes")
    stage1.add_argument(
        "-around",
        choices=("observed", "calculated", "predicted"),
        default="observed",
        help="spots that boxes are put around",
    )
    stage1.add_argument("-half_size", type=int, default=7, metavar="n", help="boxes reach n pixels to each side")
    stage1.add_argument("-background", choices=("constant", "plane"), default="constant", help="of each box")
    stage1.add_argument(
        "-refine",
        default="misset,cell,n_cells,spread,scale",
        metavar="LIST",
        help="of misset, cell, n_cells, spread, scale, wavelength (default: all but the last)",
    )
    stage1.add_argument(
        "-cell_sigma", type=float, default=0.01, metavar="x", help="of the cell's restraint to its start, relative"
    )
    stage1.add_argument("-domains", type=int, default=10, metavar="n", help="mosaic domains, 1 for no spread")
    stage1.add_argument(
        "-oversample", type=int, metavar="n", help="sub-pixels along an edge (default: by the first shot)"
    )
    stage1.add_argument(
        "-phi_steps", type=int, metavar="n", help="samples of a rotation image's oscillation (default 2)"
    )
    stage1.add_argument("-boxes", type=int, default=128, metavar="n", help="the strongest boxes of a shot at most")
    stage1.add_argument(
        "-together", type=int, default=4, metavar="n", help="shots in one compiled batch, and in a part"
    )
    stage1.add_argument("-steps", type=int, default=30, metavar="n", help="steps at most")
    stage1.set_defaults(run=_stage1)
    part = commands.add_parser("stage1-part", help="make the k-th of n parts of a run that has begun: for job arrays")
    part.add_argument("folder", metavar="DIR")
    part.add_argument("part", metavar="k/n")
    part.set_defaults(run=_part)
    stage2 = commands.add_parser("stage2", help="intensities from all shots of stage 1, as an MTZ file")
    stage2.add_argument("folder", metavar="DIR", help="of stage 1")
    stage2.add_argument("-anomalous", action="store_true", help="Bijvoet mates apart")
    stage2.add_argument("-cycles", type=int, default=20, metavar="n", help="at most")
    stage2.add_argument("-most_chi_square", type=float, metavar="x", help="leave out shots with a larger reduced one")
    sigmas = {"start": "to the start", "shell_mean": "of each shell's mean", "bijvoet": "of Bijvoet differences"}
    for name, what in sigmas.items():
        told = f"restrain intensities {what}: sigma relative to the shell's mean"
        stage2.add_argument(f"-{name}_sigma", type=float, metavar="x", help=told)
    stage2.set_defaults(run=_stage2)
    geometry = commands.add_parser("geometry", help="where panels are, from all shots of stage 1")
    geometry.add_argument("folder", metavar="DIR", help="of stage 1")
    geometry.add_argument("-groups", metavar="FILE", help="numbers of panel and group, a line each (default: alone)")
    geometry.add_argument("-sigma_mm", type=float, default=0.5, metavar="x", help="of shifts, which are held near 0")
    geometry.add_argument("-sigma_deg", type=float, default=0.5, metavar="x", help="of rotations likewise")
    geometry.set_defaults(run=_geometry)
    report = commands.add_parser("report", help="an HTML page with pictures on a run of stage 1")
    report.add_argument("folder", metavar="DIR", help="of stage 1")
    report.set_defaults(run=_report)
    return parser


def _geometry(options: argparse.Namespace) -> int:
    sigmas = {"sigma_mm": options.sigma_mm, "sigma_deg": options.sigma_deg}
    run_geometry(options.folder, groups=options.groups, say=_say, **sigmas)
    return 0


def _report(options: argparse.Namespace) -> int:
    write_report(options.folder, say=_say)
    return 0


def _stage2(options: argparse.Namespace) -> int:
    restraints = IntensityRestraints(options.start_sigma, options.shell_mean_sigma, options.bijvoet_sigma)
    run_stage2(
        options.folder,
        anomalous=options.anomalous,
        restraints=restraints,
        max_cycles=options.cycles,
        most_chi_square=options.most_chi_square,
        say=_say,
    )
    return 0


def _stage1(options: argparse.Namespace) -> int:
    absolute = lambda path: None if path is None else str(Path(path).resolve())  # noqa: E731
    settings = Settings(
        expt=str(Path(options.expt).resolve()),
        refl=str(Path(options.refl).resolve()),
        images=absolute(options.images),
        mtz=absolute(options.mtz),
        hkl=absolute(options.hkl),
        pdb=absolute(options.pdb),
        dmin_A=options.dmin,
        around=options.around,
        half_size=options.half_size,
        background=options.background,
        refined=tuple(filter(None, options.refine.split(","))),
        cell_sigma=options.cell_sigma,
        domains=options.domains,
        oversample=options.oversample,
        phi_steps=options.phi_steps,
        most_boxes=options.boxes,
        together=options.together,
        max_steps=options.steps,
    )
    run_stage1(options.out, settings, processes=options.processes, say=_say)
    return 0


def _part(options: argparse.Namespace) -> int:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", options.part)
    if match is None or not int(match[1]) < int(match[2]):
        raise InputError(f"the part must be k/n with k from 0 to n-1, got {options.part!r}")
    run_stage1(options.folder, settings_in(options.folder), part=(int(match[1]), int(match[2])), say=_say)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
