"""ANI: TorchANI's networks as a model of ours, the published one by way of a file, and its recipe on our labels."""

import socket
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from ase import Atoms

from asteroid import datasets, levels, models, runs, stages, training, units
from asteroid.baselines import ani
from asteroid.force_field import ForceField
from asteroid.runs import RunSpec, Store
from asteroid.runs.methods import METHODS
from asteroid.runs.spec import fingerprints
from asteroid.stages import Recipe

pytestmark = tiny.needs("torchani")

TOLERANCE = {"float64": 1e-9, "finite difference": 1e-5}  # kcal/mol and kcal/mol/Å
TRAIN = replace(tiny.TRAIN, steps=4, eval_every=2, learning_rate=1e-3)
RECIPE = Recipe("ani", accurate=TRAIN, identification=TRAIN, inaccurate=TRAIN, fine_tuning=TRAIN)
HELD_FIXED = {"molecule": "methanol", "valid": 5, "test": 8, "inaccurate": "gfn2", "recipe": RECIPE}
TOGETHER = dict.fromkeys(("methanol", "ethanol", "formic_acid"), "ccsd(t)")
RUN = RunSpec(method="ani", budget=6, inaccurate_budget=10, together=TOGETHER, **HELD_FIXED)
ZERO_SHOT = RunSpec(method="ani-1ccx", budget=0, **HELD_FIXED)
TUNED = RunSpec(method="ani-1ccx-tuned", budget=6, **HELD_FIXED)


def network(members: int = 1, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build("ani", members=members)


@pytest.fixture(scope="module")
def methanol():
    return datasets.load("methanol", "ccsd(t)")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """What the authors' file would be, but with random weights."""
    path = tmp_path_factory.mktemp("weights") / "ani1ccx_state_dict.pt"
    torch.save(network(ani.MEMBERS).network.state_dict(), path)
    return path


@pytest.fixture
def random_weights(weights_file, monkeypatch):
    monkeypatch.setenv(ani.WEIGHTS, str(weights_file))


@pytest.fixture
def no_network(monkeypatch):
    def fetch():
        raise OSError("Network is unreachable")

    monkeypatch.delenv(ani.WEIGHTS, raising=False)
    monkeypatch.setattr(ani.package().models, "ANI1ccx", fetch)


# The model


def test_energies_keep_under_rotation_reflection_translation_and_permutation(methanol):
    model, pos = network().double(), methanol.pos[:3]
    energy = model(methanol.z, pos)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    for z, moved in (
        (methanol.z, pos @ turn),
        (methanol.z, pos @ -turn),
        (methanol.z, pos + 7.0),
        (methanol.z[order], pos[:, order]),
    ):
        torch.testing.assert_close(model(z, moved), energy, rtol=0, atol=TOLERANCE["float64"])
    torch.testing.assert_close(torch.cat([model(methanol.z, one[None]) for one in pos]), energy)
    assert energy.shape == (3,) and float(energy.detach().std()) > 0


def test_the_force_is_minus_the_gradient_of_the_energy(methanol):
    force_field = ForceField(network().double(), methanol.z, 0.0, "ccsd(t)")
    start, step = methanol.pos[0], 1e-4
    shifts = step * torch.eye(18, dtype=torch.float64).reshape(18, 6, 3)
    slope = force_field.energy_and_force(start + shifts)[0] - force_field.energy_and_force(start - shifts)[0]
    _, force = force_field.energy_and_force(start)
    assert float((force.flatten() + slope / (2 * step)).abs().max()) < TOLERANCE["finite difference"]


def test_units_are_those_of_torchanis_own_calculator(methanol):
    model = network().double()
    atoms = Atoms(methanol.z.numpy(), methanol.pos[0].numpy(), calculator=model.network.ase())
    energy, force = ForceField(model, methanol.z, 0.0, "ccsd(t)").energy_and_force(methanol.pos[0])
    assert float(energy) * units.KCAL_PER_MOL_IN_EV == pytest.approx(atoms.get_potential_energy(), rel=1e-5)
    np.testing.assert_allclose(force * units.KCAL_PER_MOL_IN_EV, atoms.get_forces(), rtol=1e-5, atol=1e-8)


def test_a_force_field_of_it_reads_back_as_it_was_saved(methanol, tmp_path):
    force_field = ForceField(network(2), methanol.z, -7e4, "ccsd(t)")
    force_field.save(path := tmp_path / "ani.safetensors")
    again = ForceField.load(path)
    assert models.describe(again.model) == ("ani", {"members": 2})
    for a, b in zip(
        again.energy_and_force(methanol.pos[:2]), force_field.energy_and_force(methanol.pos[:2]), strict=True
    ):
        assert torch.equal(a, b)


def test_the_stages_of_the_paper_train_it(methanol):
    split = tiny.methanol(budget=10, inaccurate_budget=10, valid=5, test=8)
    recipe = replace(RECIPE, accurate=replace(TRAIN, steps=10, eval_every=5))
    force_field = stages.standard(split.train, split.valid, recipe, progress=False)
    errors = force_field.provenance["history"]["valid_force_mae"]
    assert errors[-1] < errors[0]


def test_elements_and_sizes_that_it_has_not_are_refused():
    with pytest.raises(ValueError, match="members is 0"):
        models.build("ani", members=0)
    for number in (5, 9):  # boron lies between those that it knows
        with pytest.raises(ValueError, match=f"atomic number {number}: it knows 1, 6, 7, 8"):
            ForceField(network(), torch.tensor([number, 1]), 0.0, "pbe")


# ANI-1ccx


def test_zero_shot_is_the_published_network_up_to_a_constant(methanol, random_weights):
    force_field = ani.zero_shot(methanol[:10])
    assert force_field.level == "ani-1ccx" and force_field.model.config.members == 8
    energy, force = force_field.energy_and_force(methanol.pos[10:14])
    expected_energy, expected_force = training.predict(network(8), methanol.z, methanol.pos[10:14].float())
    torch.testing.assert_close(force, expected_force, rtol=1e-5, atol=1e-4)
    difference = energy - expected_energy
    assert float(difference.std()) < 0.02  # the constant, in single precision
    fitted, _ = force_field.energy_and_force(methanol.pos[:10])
    assert float((fitted - methanol.energy[:10]).mean()) == pytest.approx(0, abs=0.01)
    assert force_field.provenance["seconds"] == 0 and force_field.provenance["valid_force_mae"] > 0


def test_without_network_and_file_the_error_says_what_to_do(methanol, no_network):
    with pytest.raises(FileNotFoundError, match=r"OSError.*torchani.models.ANI1ccx\(\).*ASTEROID_ANI1CCX"):
        ani.zero_shot(methanol[:5])


def test_what_is_missing_is_told_without_a_download(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(ani, "published_weights", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setenv("TORCHANI_DATA_DIR", str(tmp_path))
    monkeypatch.delenv(ani.WEIGHTS, raising=False)
    message = METHODS["ani-1ccx"].missing()
    assert "needs the weights" in message and "\n" not in message and message == METHODS["ani-1ccx-tuned"].missing()
    assert METHODS["ani"].missing() is None
    mine = tmp_path / "mine.pt"
    monkeypatch.setenv(ani.WEIGHTS, str(mine))
    assert str(mine) in METHODS["ani-1ccx"].missing()
    mine.touch()
    assert METHODS["ani-1ccx"].missing() is None
    monkeypatch.delenv(ani.WEIGHTS)
    (tmp_path / "StateDicts" / ani.WEIGHTS_FILE).touch()
    assert METHODS["ani-1ccx"].missing() is None


def test_a_file_that_is_not_there_damaged_or_of_another_network_is_named(methanol, tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    monkeypatch.setenv(ani.WEIGHTS, str(path))
    with pytest.raises(FileNotFoundError, match="weights.pt'.* no such file"):
        ani.zero_shot(methanol[:5])
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="weights.pt holds no weights"):
        ani.zero_shot(methanol[:5])
    torch.save(network(2).network.state_dict(), path)
    with pytest.raises(ValueError, match="do not fit ANI-1ccx"):
        ani.zero_shot(methanol[:5])


def test_runs_of_ani_1ccx_zero_shot_and_tuned(random_weights, tmp_path):
    store = Store(tmp_path / "results")
    first, second = (runs.run(spec, store, progress=False) for spec in (ZERO_SHOT, TUNED))
    assert first.seconds == 0 and first.label_seconds == {"accurate": 0.0, "inaccurate": 0.0}
    assert second.seconds > 0 and second.label_seconds["accurate"] > 0
    assert list(second.histories) == ["ani-1ccx", "ani-1ccx-tuned"]
    assert second.valid_force_mae < first.valid_force_mae  # random weights leave room
    assert store.get(ZERO_SHOT) == first and store.get(TUNED) == second
    assert runs.force_field(TUNED, store).model.config.members == 8


# The recipe on our own labels


def test_the_recipe_goes_from_cheap_labels_of_all_to_accurate_ones_of_one(monkeypatch, tmp_path):
    calls, original = [], training.fit

    def counted(model, train, valid, config, **options):
        sets, held_out = training.as_list(train), training.as_list(valid)
        names = [one.molecule for one in sets]
        assert names == [one.molecule for one in held_out]
        assert {one.level for one in sets} == {one.level for one in held_out}
        calls.append((names, {one.level for one in sets}, {len(one) for one in sets}, config.steps))
        return original(model, train, valid, config, **options)

    monkeypatch.setattr(training, "fit", counted)
    store = Store(tmp_path)
    record = runs.run(RUN, store, progress=False)
    everyone, steps = ["methanol", "ethanol", "formic_acid"], TRAIN.steps
    assert calls == [
        (everyone, {"gfn2"}, {9}, 3 * steps),  # one is held out
        (everyone, {"ccsd(t)"}, {6}, 3 * steps),
        (["methanol"], {"ccsd(t)"}, {6}, steps),
    ]
    assert list(record.histories) == ["inaccurate", "inaccurate-tuned", "inaccurate-tuned-tuned"]
    alone = replace(RUN, method="asteroid-unweighted")
    # Labels of all molecules are paid for, those of ethanol and formic acid cost more than methanol's.
    own = runs.label_cost([runs.split_of(alone).train])
    assert record.label_seconds["accurate"] > 3 * own
    assert len(runs.force_field(RUN, store).z) == 6


def test_a_record_of_the_recipe_names_the_labels_of_the_other_molecules():
    sets = [(molecule, level) for molecule in TOGETHER for level in ("ccsd(t)", "gfn2")]
    expected = {f"{level} of {molecule}": datasets.load(molecule, level).fingerprint for molecule, level in sets}
    assert fingerprints(RUN) == expected


def test_labels_cost_the_median_of_the_set_that_they_are_a_part_of(methanol):
    seconds = torch.tensor([2.0, torch.nan, 3.0, 100.0], dtype=torch.float64)
    mine = replace(methanol[:4], seconds=seconds, provenance={})
    assert runs.label_cost([mine]) == 4 * 3.0 and runs.label_cost([mine[:1], mine[3:]]) == 2 * 3.0
    embedded = methanol.provenance["seconds_median"]
    assert methanol[[7, 3]].median_seconds == methanol.median_seconds == embedded
    assert runs.label_cost([mine, methanol[:2]]) == pytest.approx(12 + 2 * embedded)
    untimed = replace(mine, seconds=None)
    assert runs.label_cost([mine, untimed]) is None and untimed[:2].median_seconds is None
    assert runs.label_cost([]) == 0


def test_another_model_or_no_inaccurate_labels_are_refused():
    with pytest.raises(ValueError, match="model 'egnn'.*'ani'"):
        ani.transfer(tiny.methanol(), [], tiny.RECIPE)
    with pytest.raises(ValueError, match="no inaccurate labels"):
        ani.transfer(tiny.methanol(inaccurate_budget=None), [], RECIPE)


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        (RUN, replace(RUN, recipe=replace(RECIPE, accurate=tiny.TRAIN, identification=tiny.TRAIN, gammas=(9.0,)))),
        (ZERO_SHOT, replace(ZERO_SHOT, budget=9, inaccurate="pbe", recipe=Recipe())),
        (TUNED, replace(TUNED, inaccurate="pbe", recipe=replace(tiny.RECIPE, fine_tuning=TRAIN))),
    ],
    ids=lambda spec: spec.method,
)
def test_what_a_method_does_not_use_is_no_part_of_its_key(spec, same):
    assert same.key == spec.key and same.file_name == spec.file_name


def test_it_is_a_level_without_accurate_labels(methanol, random_weights):
    atoms = Atoms(methanol.z.numpy(), methanol.pos[0].numpy())
    atoms.calc = levels.calculator("asteroid.baselines.ani:calculator")
    expected = ani.zero_shot(methanol[:10])
    _, force = expected.energy_and_force(methanol.pos[:1])
    np.testing.assert_allclose(atoms.get_forces() / units.KCAL_PER_MOL_IN_EV, force[0].numpy(), rtol=1e-4, atol=1e-3)
    assert "torchani" in atoms.calc.version
