"""The command line: python -m asteroid COMMAND --help.

sweep: the missing runs of a profile, or their plan; label: labels of a level of theory; pages: the pages of the book;
embed: labels into the embedded sets.
"""

import argparse
import importlib
import sys
from itertools import groupby

from asteroid import profiles
from asteroid.book import workload
from asteroid.files import root
from asteroid.planning import rounds
from asteroid.runs import Store, sweeps
from asteroid.runs.spec import labels, sets_of

MAIN = ("standard", "asteroid")  # with the fewest accurate labels and the most cheap ones: what is made first


def sweep(arguments: list[str]) -> None:
    """Make all missing runs of a profile.

    It exits with 1 where a run failed. With --plan it says what the runs are and how long they take, and makes none.
    """
    about = "Make the missing runs of a profile."
    parser = argparse.ArgumentParser(prog="python -m asteroid sweep", description=about)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default), md17 or paper")
    parser.add_argument("--plan", action="store_true", help="print the runs and the hours they take, and make none")
    about_speed = f"of a plan: how many times as fast as one CPU core the GPU is, {workload.SPEED_UP:g} if not given"
    parser.add_argument("--speed-up", type=float, metavar="N", help=about_speed)
    options = parser.parse_args(arguments)
    if options.speed_up is not None and not (options.plan and options.speed_up > 0):
        parser.error(f"--speed-up is {options.speed_up:g}; expected a number above 0, and --plan with it")
    try:
        profile = profiles.load(options.profile)
        specs = profile.shown()
        store = Store(root() / "results" / profile.name)
        ways = profile.compared(next(iter(profile.recipes)))
        lacking = {} if options.plan else sweeps.missing(ways, store)  # a plan does without the data
        specs += [spec for way, runs in ways.items() if way not in lacking for spec in runs]
        # After any interruption whole sets of runs are there: the main comparison, then the figures seed by seed.
        main = {one for model in profile.recipes for way in MAIN for one in profile.low_resource(way, model)}
        specs = sorted(dict.fromkeys(specs), key=lambda spec: (spec not in main, spec.seed))
        parts = [list(part) for _, part in groupby(specs, lambda spec: -1 if spec in main else spec.seed)]
        for why in dict.fromkeys(lacking.values()):
            print(f"left out: {why}")
        if options.plan:
            print(workload.report(specs, store.folder, options.speed_up or workload.SPEED_UP))
            return
        for molecule, level in sorted({one for spec in specs if store.get(spec) is None for one in sets_of(spec)}):
            labels(molecule, level)  # downloaded where they are missing
        failed = len(specs) - sum(len(sweeps.sweep(part, store)) for part in parts)
        if not failed:  # these know what they train next only when they have seen what came before
            for molecule in profile.planner.rounds.molecules:
                rounds.compare(profile, molecule, store)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")
    if failed:
        sys.exit(
            f"{failed} of {len(specs)} runs failed, see {store.folder / 'failures'}; the same command retries them"
        )


# By name, what else has a command line of its own.
COMMANDS = {"label": "asteroid.levels.__main__", "pages": "asteroid.book.pages", "embed": "asteroid.levels.embed"}


def main(arguments: list[str] | None = None) -> int | None:
    """Run a command; exits with a line that lists them for any other."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name == "sweep":
        return sweep(rest)
    if name in COMMANDS:
        return importlib.import_module(COMMANDS[name]).main(rest)
    parser = argparse.ArgumentParser(
        prog="python -m asteroid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["sweep", *COMMANDS])
    parser.parse_args([name])


if __name__ == "__main__":
    sys.exit(main())
