"""The simulations of a profile: what moves the atoms, how long and how often (Fig. 6)."""

from asteroid.profiles import Profile
from asteroid.runs import RunSpec
from asteroid.runs.simulations import Simulation


def potentials(profile: Profile, model: str, molecule: str) -> dict[str, RunSpec | str]:
    """What moves the atoms in Fig 6: by method, the run of the first seed with the fewest accurate labels; and "lj"."""
    chosen: dict[str, RunSpec | str] = {}
    for method in ("asteroid", "standard", "inaccurate"):
        specs = [
            spec
            for spec in profile.specs(method, model, (molecule,))
            if (spec.seed, spec.inaccurate) == (profile.seeds[0], profile.inaccurate)
        ]
        chosen[method] = min(specs, key=lambda spec: (spec.budget, -spec.inaccurate_budget))
    return {**chosen, "lj": "lj"}


def long_runs(profile: Profile, model: str, molecule: str) -> dict[str, Simulation]:
    """Fig 6a: one long simulation with each of the `potentials`."""
    sizes = profile.dynamics
    how = {"steps": sizes.steps, "replicas": sizes.replicas, "every": 4}
    about = {"molecule": molecule, "level": profile.accurate_level(molecule)}
    return {name: Simulation(moved, **about, **how) for name, moved in potentials(profile, model, molecule).items()}


def short_runs(profile: Profile, model: str, molecule: str) -> dict[tuple[str, float], Simulation]:
    """Fig 6b: many short simulations by method, standard and ASTEROID, and time step (fs)."""
    sizes, moved = profile.dynamics, potentials(profile, model, molecule)
    about = {"molecule": molecule, "level": profile.accurate_level(molecule), "replicas": sizes.runs}
    found = {}
    for name in ("standard", "asteroid"):
        for timestep in sizes.step_sizes:
            every = max(1, round(5 / timestep))  # a frame in about 5 fs
            steps = every * round(sizes.length / (timestep * every))
            found[name, timestep] = Simulation(moved[name], **about, steps=steps, every=every, timestep=timestep)
    return found
