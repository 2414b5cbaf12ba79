"""Records of simulations: made once, recognised by what decides them, honest about failures."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from asteroid import datasets, levels, profiles, runs
from asteroid.md import dynamics, stability
from asteroid.profiles import simulated
from asteroid.runs import Store, records, simulations
from asteroid.runs.simulations import EDGES, LabelledFrames, Simulation, SimulationRecord, possible, simulate

SETTINGS = {"molecule": "methanol", "level": "ccsd(t)", "steps": 20, "replicas": 2, "every": 4}
LJ = Simulation("lj", **SETTINGS)
TRAINED = Simulation(tiny.STANDARD, **SETTINGS)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def test_a_record_is_made_once_and_read_back(store, monkeypatch):
    record = simulate(TRAINED, store)
    monkeypatch.setattr(runs.make, "force_field", None)  # nothing is trained or loaded for a record
    assert simulate(TRAINED, store) == record == records.recorded(SimulationRecord, TRAINED, store)
    assert len(record.verdicts) == len(record.time) == len(record.course) == 2
    assert record.course[0]["time"] == [0, 2, 4, 6, 8, 10] and np.shape(record.frames) == (6, 6, 3)
    assert (store.folder / TRAINED.file_name).stat().st_size < 30_000


def test_distances_and_spectrum_of_a_record(store):
    record = simulate(TRAINED, store)
    assert np.dot(record.distances, np.diff(EDGES)) == pytest.approx(1, abs=1e-3)
    frames = simulations.labelled_frames(LabelledFrames("methanol", "ccsd(t)"), store)
    assert stability.distribution_error(np.array(record.distances), np.array(frames.distances), EDGES) < 1
    assert len(record.spectrum["wavenumber"]) == len(record.spectrum["density"])
    assert simulate(replace(TRAINED, every=10), store).spectrum is None  # 5 fs between frames


def test_what_simulations_are_compared_with_is_kept_for_where_the_labels_are_not(store, monkeypatch):
    labels = datasets.load("methanol", "gfn2")
    spec = LabelledFrames("methanol", "gfn2")
    made = simulations.labelled_frames(spec, store)
    assert made.z == labels.z.tolist() and made.frames == len(labels)
    assert made.widest == pytest.approx(float(torch.cdist(labels.pos, labels.pos).max()))
    assert made.halves < 0.1 and np.dot(made.distances, np.diff(EDGES)) == pytest.approx(1, abs=1e-3)
    monkeypatch.setattr(datasets, "is_here", lambda molecule, level: False)
    monkeypatch.setattr(datasets, "load", None)
    assert simulations.labelled_frames(spec, store) == made
    assert simulations.labelled_frames(LabelledFrames("methanol", "pbe"), store) is None


def test_simulations_are_made_only_where_they_are_asked_for(store):
    new = replace(LJ, seed=7)
    simulate(LJ, store)
    assert list(simulations.found({"old": LJ, "new": new}, store, make=False)) == ["old"]
    assert not (store.folder / new.file_name).exists()
    assert list(simulations.found({"new": new, "old": LJ}, store)) == ["new", "old"]


def test_a_pair_potential_lets_the_molecule_fly_apart(store):
    record = simulate(LJ, store)
    assert record.failed == record.bond_failed == [True, True] and max(record.time) <= 10
    assert all("came apart" in verdict for verdict in record.verdicts)
    assert record.spectrum is None


def test_drift_is_measured_without_friction_and_warnings_are_kept(store):
    (given,) = simulate(replace(LJ, steps=180, timestep=1.0), store).warnings
    assert "1 fs is long for the fastest vibration" in given
    assert simulate(replace(TRAINED, friction=0.0), store).energy_drift is not None
    assert simulate(TRAINED, store).energy_drift is None


def test_distances_and_bonds_are_those_of_frames_before_a_failure(store, monkeypatch):
    labels = datasets.load("methanol", "ccsd(t)")
    starts, pairs = labels.pos[:2].numpy(), stability.bonds(labels.z.numpy(), labels.pos[0].numpy())
    density = stability.distance_distribution(starts, EDGES)
    length = stability.bond_lengths(starts, pairs).mean()
    apart = simulate(LJ, store)  # at the first frame after the start
    assert apart.bond_time == [2.0, 2.0]
    monkeypatch.setattr(stability, "BOND_LIMIT", 0.0)
    at_once = simulate(replace(TRAINED, seed=4), store)
    assert at_once.bond_time == [0.0, 0.0]
    for record in (apart, at_once):
        np.testing.assert_allclose(record.distances, density, rtol=1e-3)
        assert record.bond_length == pytest.approx(length)
    assert simulate(TRAINED, store).bond_length == pytest.approx(length, abs=0.1)


def test_replicas_that_came_apart_have_no_drift(store, monkeypatch):
    """Not even those that did so before their second frame, which have no slope."""

    def langevin(*args, **settings):
        columns = ("pos", "velocity", "time", "temperature", "potential_energy", "largest_distance")
        trajectories = dynamics.langevin(*args, **settings)
        for place, frames in ((1, 1), (2, 3)):
            kept = {name: getattr(trajectories[place], name)[:frames] for name in columns}
            trajectories[place] = replace(trajectories[place], **kept, stable=False)
        return trajectories

    monkeypatch.setattr(simulations, "dynamics", SimpleNamespace(langevin=langevin))
    record = simulate(replace(TRAINED, friction=0.0, replicas=3), store)
    assert record.failed == [False, True, True] and len(record.energy_drift) == 1


def test_the_curve_of_a_long_run_keeps_its_largest_distances():
    """One frame in which the molecule is torn must not fall between those that are drawn."""
    distance = np.ones(31)
    distance[[10, 30]] = 7.0, 9.0
    course = simulations.thinned(SimpleNamespace(time=np.arange(31.0), largest_distance=distance), 10)
    shown = dict(zip(course["time"], course["largest_distance"], strict=True))
    assert len(shown) <= 10 and sorted(shown.values())[-3:] == [1.0, 7.0, 9.0]
    assert max(time for time in shown if time <= 10) == course["time"][course["largest_distance"].index(7.0)]
    assert course["largest_distance"][-1] == 9.0


@pytest.mark.parametrize("name", profiles.names())
def test_simulations_are_of_the_fewest_accurate_and_the_most_cheap_labels_and_last_as_long_as_they_should(name):
    profile = profiles.load(name)
    molecule, fewest = profile.dynamics.step_molecule, min(profile.budgets)
    moved = simulated.potentials(profile, "egnn", molecule)
    sizes = {way: (moved[way].budget, moved[way].inaccurate_budget) for way in ("asteroid", "standard", "inaccurate")}
    assert sizes == {
        "asteroid": (fewest - profile.given_up, max(profile.inaccurate_budgets)),
        "standard": (fewest, 0),
        "inaccurate": (0, max(profile.cheap_alone[profile.inaccurate])),
    }
    for (way, timestep), spec in simulated.short_runs(profile, "egnn", molecule).items():
        assert spec.potential == moved[way] and spec.timestep == timestep and spec.steps % spec.every == 0
        assert spec.steps * timestep == pytest.approx(profile.dynamics.length, abs=5)  # fs


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 24},
        {"replicas": 3},
        {"temperature": 300.0},
        {"timestep": 1.0},
        {"friction": 0.0},
        {"every": 5},
        {"seed": 1},
        {"level": "pbe"},
        {"potential": "gfn2"},
        {"potential": replace(tiny.STANDARD, seed=1)},
    ],
    ids=str,
)
def test_whatever_decides_a_simulation_is_in_its_key(change):
    assert replace(TRAINED, **change).key != TRAINED.key


def test_a_damaged_record_is_refused_by_name(store):
    path = store.folder / replace(LJ, seed=5).file_name
    simulate(replace(LJ, seed=5), store)
    for content in ("{", "{}", path.read_text().replace(replace(LJ, seed=5).key, "0")):
        path.write_text(content)
        with pytest.raises(ValueError, match=f"{path.name} is damaged.*delete it"):
            simulate(replace(LJ, seed=5), store)


def test_a_level_that_is_not_installed_is_possible_only_where_it_is_recorded(store, monkeypatch):
    def missing(level):
        raise ImportError(level)

    simulate(LJ, store)
    monkeypatch.setattr(levels, "calculator", missing)
    assert possible(LJ, store) and not possible(replace(LJ, seed=9), store) and possible(TRAINED, store)


def test_too_few_frames_to_start_from(store):
    with pytest.raises(ValueError, match="100000 replicas need as many frames"):
        simulate(replace(LJ, replicas=100_000), store)


def test_the_table_names_estimates_and_bounds(store):
    table = simulations.overview({"trained": simulate(TRAINED, store), "pair potential": simulate(LJ, store)})
    assert table.loc["pair potential", "whole at the end"] == "0 of 2"
    assert "(" in table.loc["pair potential", "mean time to failure, bonds [ps]"]
    assert json.loads((store.folder / LJ.file_name).read_text())["spec"]["potential"] == "lj"


def test_a_bound_on_the_time_to_failure_is_not_rounded_up(store):
    whole = replace(simulate(LJ, store), failed=[False] * 2, bond_failed=[False] * 2, time=[51_000.0] * 2)
    bound = stability.mean_time_to_failure(np.array([51.0, 51.0]), [False] * 2).low
    text = simulations.overview({"whole": whole}).loc["whole", "mean time to failure, distance [ps]"]
    assert text.startswith("> ") and bound - 1 < float(text[2:]) <= bound < round(bound)
