"""The command line: python -m asteroid COMMAND --help."""

import math
from itertools import chain, groupby
from pathlib import Path

import click

from asteroid.files import root

MAIN = ("standard", "asteroid")  # with the fewest accurate labels and the most cheap ones: what is made first


class _Commands(click.Group):
    """Commands of which whatever goes wrong is one line, without a traceback, and the exit status 1."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):  # click's own, of --help and the like
            raise
        except (ValueError, ImportError, OSError, RuntimeError) as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            how = " with --resume" if ctx.invoked_subcommand == "label" else ""
            raise click.ClickException(f"interrupted; the same command{how} goes on from here") from None


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(ctx: click.Context) -> None:
    """Machine learning force fields at a fraction of the label cost."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


_profile = click.option(
    "--profile",
    default="laptop",
    show_default=True,
    help="How large the experiments are: smoke, laptop, md17 or paper.",
)


@main.command()
@_profile
def sweep(profile: str) -> None:
    """Make the missing runs of a profile.

    It can be interrupted at any time. The exit status is 1 if a run failed.
    """
    from asteroid import profiles
    from asteroid.planning import rounds
    from asteroid.runs import Store, sweeps
    from asteroid.runs.spec import labels, sets_of

    profile = profiles.load(profile)
    store = Store(root() / "results" / profile.name)
    lacking = sweeps.missing(_compared(profile), store)
    for why in dict.fromkeys(lacking.values()):
        click.echo(f"left out: {why}")
    parts = _runs(profile, lacking)
    specs = list(chain.from_iterable(parts))
    for molecule, level in sorted({one for spec in specs if store.get(spec) is None for one in sets_of(spec)}):
        labels(molecule, level)  # downloaded where they are missing
    failed = len(specs) - sum(len(sweeps.sweep(part, store)) for part in parts)
    if failed:
        raise RuntimeError(
            f"{failed} of {len(specs)} runs failed, see {store.folder / 'failures'}; the same command retries them"
        )
    for molecule in profile.planner.rounds.molecules:  # these go by what was seen before
        rounds.compare(profile, molecule, store)


@main.command()
@_profile
@click.option(
    "--speed-up",
    type=click.FloatRange(min=0, min_open=True),
    help="How many times as fast as one CPU core the GPU is.",
)
def plan(profile: str, speed_up: float | None) -> None:
    """List the runs of a profile and the hours that they take; make none."""
    from asteroid import profiles
    from asteroid.book import workload

    if speed_up is not None and not math.isfinite(speed_up):
        raise click.BadParameter(f"--speed-up is {speed_up}; expected a number above 0")
    profile = profiles.load(profile)  # the data need not be here
    specs = list(chain.from_iterable(_runs(profile, lacking=())))
    click.echo(workload.report(specs, root() / "results" / profile.name, speed_up or workload.SPEED_UP))


@main.command()
@click.option("--molecule", help="An embedded molecule, or a file of frames, in Å unless it states its unit.")
@click.option("--level", help="A level of theory; without --molecule and --level they are listed.")
@click.option("--frames", type=int, help="How many frames, from the first; all if not given.")
@click.option("--output", type=click.Path(path_type=Path), help="The ledger; MOLECULE_LEVEL.jsonl if not given.")
@click.option("--resume", is_flag=True, help="Go on with a ledger that is there.")
@click.option("--retry", is_flag=True, help="Try frames again that failed.")
@click.option("--processes", "at_once", type=int, default=1, show_default=True, help="Labels made at once.")
@click.option("--charge", type=int, help="Total charge; what the file says, else 0, if not given.")
@click.option("--basis", help="Basis set; cc-pvdz if not given.")
@click.option("--code", help="Program that computes; the first installed of the level's if not given.")
def label(molecule: str | None, level: str | None, charge: int | None, basis: str | None, code: str | None, **how):
    """Label frames at a level of theory.

    Each label is kept in the ledger as soon as it is made. A command that was stopped goes on with --resume. At the end
    the labels are saved beside the ledger, in a file that asteroid.load reads:

    python -m asteroid label --molecule ethanol --level "ccsd(t)" --frames 450
    """
    from asteroid import levels
    from asteroid.levels import jobs

    if molecule is None and level is None:
        click.echo(levels.overview().to_string(index=False))
        return
    if molecule is None or level is None:
        raise click.UsageError("give both --molecule and --level, or neither for the list of levels")
    settings = {"charge": charge, "basis": basis, "code": code}
    settings = {name: value for name, value in settings.items() if value is not None}
    labelled, target = jobs.run(molecule, level, **how, **settings)
    click.echo(
        f"{len(labelled)} {level} labels of {labelled.molecule} in {target}, median "
        f"{float(labelled.seconds.median()):.3g} s; {labelled.provenance['failures']} frames failed"
    )


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
def embed(files: tuple[Path, ...]) -> None:
    """Add labels to the data that come with the library.

    Each FILE is named MOLECULE_LEVEL.npz or MOLECULE_LEVEL.jsonl, such as the ledger of the command label for an
    embedded molecule. What is already embedded is kept, and a frame that a FILE labels anew is replaced.
    """
    from asteroid.datasets import sources
    from asteroid.levels.embed import embed

    for path in embed(files):
        labels = sources.read_record(path)["frames"]
        click.echo(f"{path.name}: {labels} labels, {path.stat().st_size / 1e6:.2f} MB")


@main.command()
@click.option("--profile", help="Profile that the pages show; $ASTEROID_PROFILE, else laptop, if not given.")
@click.argument("pages", nargs=-1, metavar="[PAGE]...")
def pages(profile: str | None, pages: tuple[str, ...]) -> None:
    """Execute the notebooks of stale pages of the book.

    PAGE is a page's name without suffix; all if none is given.
    """
    from asteroid import book

    book.make_pages(profile, list(pages))


def _compared(profile) -> dict[str, list]:
    """The runs by each of the ways that are compared with the method."""
    model = next(iter(profile.recipes))
    few = {"sGDML, few labels": profile.few_specs("sgdml", model)}
    return profile.compared(model) | few | profile.rival_specs()


def _runs(profile, lacking) -> list[list]:
    """The runs of a profile in the parts in which they are made, without the ways that lack a package.

    After any interruption whole sets of runs are there: the main comparison, then the figures seed by seed.
    """
    compared = [spec for way, runs in _compared(profile).items() if way not in lacking for spec in runs]
    main = {one for model in profile.recipes for way in MAIN for one in profile.low_resource(way, model)}
    specs = sorted(dict.fromkeys([*profile.shown(), *compared]), key=lambda spec: (spec not in main, spec.seed))
    return [list(part) for _, part in groupby(specs, lambda spec: -1 if spec in main else spec.seed)]


if __name__ == "__main__":
    main(prog_name="python -m asteroid")
