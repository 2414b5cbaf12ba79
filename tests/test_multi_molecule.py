"""Several molecules in one training: they take turns, nothing of one leaks into another, and each is fine-tuned."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
import tiny
import torch
from tiny import weights

from asteroid import datasets, multi_molecule, profiles, provenance, runs, stages, training
from asteroid.book import workload
from asteroid.runs import RunSpec, Store, sweeps
from asteroid.runs.spec import fingerprints
from asteroid.training import fit, forces, losses

QUIET = {"progress": False}
LEVELS = {"methanol": "ccsd(t)", "formic_acid": "ccsd(t)"}
HELD_FIXED = {"budget": 6, "inaccurate_budget": 10, "valid": 5, "test": 8, "recipe": tiny.RECIPE}
MULTI = RunSpec(molecule="methanol", method="asteroid-multi", together=LEVELS, **HELD_FIXED)


def split_of(molecule: str, budget: int = 12, inaccurate_budget: int = 15) -> datasets.Split:
    accurate, inaccurate = (datasets.load(molecule, level) for level in ("ccsd(t)", "pbe"))
    return datasets.split(accurate, inaccurate, budget, 0, inaccurate_budget=inaccurate_budget, valid=10, test=30)


@pytest.fixture(scope="module")
def methanol() -> datasets.Split:
    return split_of("methanol")


@pytest.fixture(scope="module")
def formic_acid() -> datasets.Split:
    return split_of("formic_acid", inaccurate_budget=20)


@pytest.fixture(scope="module")
def both(methanol, formic_acid) -> list[datasets.Split]:
    return [methanol, formic_acid]


@pytest.fixture(scope="module")
def thetas_a(both) -> list:
    return [stages.standard(split.train, split.valid, tiny.RECIPE, **QUIET) for split in both]


@pytest.fixture
def batches(monkeypatch) -> list[torch.Tensor]:
    """The positions that each training step sees."""
    seen, original = [], forces.training_step

    def watched(*args):
        step_of = original(*args)
        return lambda pos, *rest: (seen.append(pos), step_of(pos, *rest))[1]

    monkeypatch.setattr(forces, "training_step", watched)
    return seen


def trained(train, valid, **options) -> tuple[torch.Tensor, dict]:
    """Weights after a short training, and its history without the seconds."""
    model = tiny.model()
    history = fit(model, train, valid, options.pop("config", tiny.TRAIN), **options)
    return weights(model), {**asdict(history), "seconds": 0}


# The loop


def test_molecules_take_turns_and_each_has_its_own_shuffle(both, batches):
    (methanol, formic_acid), config = both, replace(tiny.TRAIN, steps=10, batch_size=4)
    fit(tiny.model(), [methanol.inaccurate, formic_acid.inaccurate], [methanol.valid, formic_acid.valid], config)
    assert [batch.shape[1] for batch in batches] == [6, 5] * 5
    mixed = [batches[0::2], batches[1::2]]
    for split, theirs in zip(both, mixed, strict=True):
        batches.clear()
        fit(tiny.model(), split.inaccurate, split.valid, replace(config, steps=5))
        assert all(torch.equal(a, b) for a, b in zip(batches, theirs, strict=True))


def test_one_set_in_a_list_is_the_set_alone(methanol):
    weight = torch.linspace(0.5, 1.5, 12, dtype=torch.float64)
    alone, expected = trained(methanol.train, methanol.valid, weight=weight)
    listed, history = trained([methanol.train], [methanol.valid], weight=weight, shapes=[{}])
    assert torch.equal(alone, listed) and history == expected


@pytest.mark.parametrize("interrupt_before", [3, 8])
def test_a_resumed_training_of_two_ends_with_the_same_bits(interrupt_before, both, monkeypatch, tmp_path):
    sets, valid = [split.train for split in both], [split.valid for split in both]
    weight = torch.linspace(0.5, 1.5, 24, dtype=torch.float64)
    expected = trained(sets, valid, weight=weight)
    monkeypatch.setattr(training.loop, "CHECKPOINT_SECONDS", 0)
    checkpoint, original = tmp_path / "checkpoint", training.State.update

    def interrupted(state, gradients):
        if state.step == interrupt_before:
            raise KeyboardInterrupt
        original(state, gradients)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.State, "update", interrupted)
        trained(sets, valid, weight=weight, checkpoint=checkpoint)
    resumed = trained(sets, valid, weight=weight, checkpoint=checkpoint)
    assert torch.equal(resumed[0], expected[0]) and resumed[1] == expected[1]
    for other in (sets[::-1], sets[:1]):
        with pytest.raises(ValueError, match="another training"):
            held_out = valid[::-1] if len(other) == 2 else valid[:1]
            trained(other, held_out, weight=weight[: sum(map(len, other))], checkpoint=checkpoint)


def test_the_validation_error_is_the_mean_over_molecules(both):
    model = tiny.model()
    history = fit(model, [split.train for split in both], [split.valid for split in both], tiny.TRAIN)
    errors = []
    for split in both:
        _, force = training.predict(model, split.valid.z, split.valid.pos.float())
        errors.append(float(losses.force_mae(force, split.valid.force.float())))
    assert abs(errors[0] - errors[1]) > 0.1  # so that neither alone would do
    assert history.best == pytest.approx(sum(errors) / 2, rel=1e-5)


def test_each_molecule_has_its_own_constant_of_the_energy(both):
    """The levels of two molecules are 10⁴ kcal/mol apart; a loss on energies alone shows that none of it is left."""
    config = replace(tiny.TRAIN, rho=0.0, steps=4)
    _, history = trained([split.train for split in both], [split.valid for split in both], config=config)
    spread = [float(split.train.energy.mean()) for split in both]
    assert abs(spread[0] - spread[1]) > 1e4 and max(history["train_loss"]) < 100


def test_weights_go_to_the_frames_of_their_own_molecule(both):
    sets, valid = [split.train for split in both], [split.valid for split in both]
    weight = torch.ones(24, dtype=torch.float64)
    weight[12:17] = 0  # five frames of formic acid
    ends = [trained([sets[0], tiny.corrupted(sets[1], 5, size)], valid, weight=weight)[0] for size in (10.0, 100.0)]
    assert torch.equal(*ends)
    assert not torch.equal(trained([tiny.corrupted(sets[0], 5), sets[1]], valid, weight=weight)[0], ends[0])


def test_a_traced_training_of_two_gives_what_the_eager_one_gives(both, monkeypatch):
    """Different numbers of atoms, so two graphs, which change the weights of one model."""
    sets, valid = [split.inaccurate for split in both], [split.valid for split in both]
    eager, _ = trained(sets, valid)
    atoms, original = [], forces.traced_training_step

    def noted(model, z, *rest):
        atoms.append(len(z))
        return original(model, z, *rest)

    monkeypatch.setattr(forces, "traced_training_step", noted)
    monkeypatch.setattr(training.loop, "TRACE_FROM_STEPS", 1)
    traced, _ = trained(sets, valid)
    assert atoms == [6, 5]
    torch.testing.assert_close(traced, eager, rtol=1e-3, atol=1e-4)


def test_gemnet_has_the_shapes_of_each_molecule_and_scaling_factors(both, trainings):
    sizes = {"blocks": 1, "atom": 16, "edge": 16, "triplet": 8, "triplet_out": 8}
    slow = replace(tiny.TRAIN, learning_rate=0.002)
    recipe = replace(tiny.RECIPE, model="gemnet-t", model_config=sizes, inaccurate=slow)
    sets = [split.inaccurate for split in both]
    force_field = stages.train_on_inaccurate(sets, None, 1.0, recipe, **QUIET)
    assert trainings[0]["shapes"] == [{"capacity": 30}, {"capacity": 20}]  # every pair of 6 and of 5 atoms
    assert all(float(buffer) != 1 for buffer in force_field.model.buffers())
    losses_ = force_field.provenance["history"]["train_loss"]
    assert losses_[-1] < losses_[0]


def test_two_molecules_need_a_validation_set_each_and_a_weight_for_every_frame(both):
    sets, valid = [split.train for split in both], [split.valid for split in both]
    with pytest.raises(ValueError, match="2 training sets and 1 for validation"):
        fit(tiny.model(), sets, valid[:1], tiny.TRAIN)
    with pytest.raises(ValueError, match=r"weight has the shape \(12,\); expected one for each of 24 frames"):
        fit(tiny.model(), sets, valid, tiny.TRAIN, weight=torch.ones(12))
    with pytest.raises(ValueError, match="no set of labels"):
        fit(tiny.model(), [], [], tiny.TRAIN)


def test_lengths_of_a_training_grow_together():
    config = replace(tiny.TRAIN, plateau=7, patience=9).times(3)
    lengths = ("steps", "warmup", "decay_steps", "eval_every", "plateau", "patience")
    assert [getattr(config, name) for name in lengths] == [36, 6, 3000, 12, 21, 27]
    assert replace(config, **{name: getattr(tiny.TRAIN, name) for name in lengths}) == tiny.TRAIN


# The stages


def test_pretraining_gives_each_molecule_its_steps_its_bias_and_its_median(both, thetas_a, trainings):
    force_field = multi_molecule.pretrain(both, thetas_a, tiny.RECIPE, **QUIET)
    (call,) = trainings
    assert call["config"] == tiny.TRAIN.times(2)
    learned, all_of = (
        [stages.estimated_bias(*pair) for pair in zip(thetas_a, sets, strict=True)]
        for sets in (call["train"], [split.inaccurate for split in both])
    )
    expected = [losses.bias_weights(bias, float(bias.median())) for bias in learned]
    torch.testing.assert_close(call["weight"], torch.cat(expected))
    torch.testing.assert_close(force_field.bias, torch.cat(all_of))
    assert [round(float(part.mean()), 6) for part in call["weight"].split([14, 19])] == [1, 1]
    assert [(one.molecule, one.level, len(one)) for one in call["valid"]] == [
        ("methanol", "pbe", 1),
        ("formic_acid", "pbe", 1),
    ]
    about = force_field.provenance
    assert about["molecule"] == "methanol+formic_acid" and (about["level"], about["labels"]) == ("pbe", 33)
    each = [about["seconds"], *(theta_a.provenance["seconds"] for theta_a in thetas_a)]
    assert about["seconds_of_all_stages"] == pytest.approx(sum(each))


def test_of_several_gammas_the_validation_of_all_molecules_chooses(both, thetas_a, trainings):
    force_field = multi_molecule.pretrain(both, thetas_a, replace(tiny.RECIPE, gammas=(0.1, 1.0)), **QUIET)
    assert len(trainings) == 2
    errors = {}
    for gamma in (0.1, 1.0):
        recipe = replace(tiny.RECIPE, gammas=(gamma,))
        alone = multi_molecule.pretrain(both, thetas_a, recipe, **QUIET)
        errors[gamma] = sum(stages.force_error(replace(alone, z=split.valid.z), split.valid) for split in both)
    assert force_field.provenance["gamma"] == min(errors, key=errors.get)


@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_the_gamma_of_several_molecules_is_chosen_by_accurate_frames_of_each(gamma, both, thetas_a):
    """Whichever γ they agree with most, here because they are labelled by its force field; a molecule alone decides
    where the others are far off whatever the γ."""
    ideal = multi_molecule.pretrain(both, thetas_a, replace(tiny.RECIPE, gammas=(gamma,)), **QUIET)
    for labelled in (both, both[:1], both[1:]):
        given = []
        for split in both:
            _, force = replace(ideal, z=split.valid.z).energy_and_force(split.valid.pos)
            change = {"force": force.double()} if split in labelled else {}
            given.append(replace(split, valid=replace(split.valid, **change)))
        chosen = multi_molecule.pretrain(given, thetas_a, replace(tiny.RECIPE, gammas=(0.1, 1.0)), **QUIET)
        assert chosen.provenance["gamma"] == gamma
        assert torch.equal(weights(chosen.model), weights(ideal.model))


def test_without_validation_frames_several_molecules_have_one_gamma(both, thetas_a, trainings):
    given = [both[0], replace(both[1], valid=None)]
    with pytest.raises(ValueError, match="no accurate validation frames"):
        multi_molecule.pretrain(given, thetas_a, replace(tiny.RECIPE, gammas=(0.1, 1.0)), **QUIET)
    assert trainings == []
    alone, expected = (multi_molecule.pretrain(splits, thetas_a, tiny.RECIPE, **QUIET) for splits in (given, both))
    assert torch.equal(weights(alone.model), weights(expected.model))


def test_fine_tuning_starts_from_the_shared_weights_for_each_molecule(both, thetas_a, tmp_path):
    shared = multi_molecule.pretrain(both, thetas_a, tiny.RECIPE, folder=tmp_path, **QUIET)
    shared.save(tmp_path / "shared.safetensors")
    shared = type(shared).load(tmp_path / "shared.safetensors")
    still = replace(tiny.RECIPE, fine_tuning=replace(tiny.TRAIN, learning_rate=1e-15))
    for split in both:
        same = stages.fine_tune(shared, split.train, split.valid, still, **QUIET)
        assert torch.equal(weights(same.model), weights(shared.model)) and torch.equal(same.z, split.train.z)
        energy, _ = same.energy_and_force(split.train.pos)
        assert float(energy.mean()) == pytest.approx(float(split.train.energy.mean()), abs=1e-3)
        assert provenance.total_seconds([same.provenance]) > shared.provenance["seconds_of_all_stages"]
    tuned = stages.fine_tune(shared, both[1].train, both[1].valid, tiny.RECIPE, **QUIET)
    with pytest.raises(ValueError, match=r"start from has the atoms \[.*\], the labels of methanol have"):
        stages.fine_tune(tuned, both[0].train, both[0].valid, tiny.RECIPE, **QUIET)


def test_a_molecule_that_was_not_among_those_is_refused(both, thetas_a):
    shared, ethanol = multi_molecule.pretrain(both, thetas_a, tiny.RECIPE, **QUIET), datasets.load("ethanol", "ccsd(t)")
    with pytest.raises(
        ValueError, match=r"has the atoms \[6, 8, 1.*\] or \[.*\], the labels of ethanol have \[6, 6, 8"
    ):
        stages.fine_tune(shared, ethanol[:5], ethanol[5:9], tiny.RECIPE, **QUIET)


def test_sets_that_cannot_be_trained_together_are_refused(both, thetas_a):
    methanol, formic_acid = both
    arguments = (None, 1.0, tiny.RECIPE)
    with pytest.raises(ValueError, match="different levels: pbe of methanol, ccsd.* of formic_acid"):
        stages.train_on_inaccurate([methanol.inaccurate, formic_acid.train], *arguments, **QUIET)
    with pytest.raises(ValueError, match="twice: pbe of methanol, pbe of methanol"):
        stages.train_on_inaccurate([methanol.inaccurate] * 2, *arguments, **QUIET)
    with pytest.raises(ValueError, match="no set of labels"):
        stages.train_on_inaccurate([], *arguments, **QUIET)
    with pytest.raises(ValueError, match="methanol .*formic_acid .*same order"):
        stages.standard(methanol.train, formic_acid.valid, tiny.RECIPE, **QUIET)
    with pytest.raises(ValueError, match="2 splits and 1 force fields"):
        multi_molecule.pretrain(both, thetas_a[:1], tiny.RECIPE, **QUIET)
    with pytest.raises(ValueError, match="no inaccurate labels"):
        multi_molecule.pretrain([methanol, replace(formic_acid, inaccurate=None)], thetas_a, tiny.RECIPE, **QUIET)


def test_a_model_of_two_molecules_knows_both_and_one_of_one_does_not():
    both = [split_of(molecule, inaccurate_budget=200) for molecule in LEVELS]
    steps = {"steps": 150, "decay_steps": 150, "decay_rate": 0.01, "warmup": 10, "eval_every": 50}
    recipe = replace(tiny.RECIPE, inaccurate=replace(tiny.TRAIN, batch_size=10, learning_rate=0.05, **steps))
    sets = [split.inaccurate for split in both]
    shared = stages.train_on_inaccurate(sets, None, 1.0, recipe, **QUIET)
    alone = [stages.train_on_inaccurate(one, None, 1.0, recipe, **QUIET) for one in sets]
    for mine, other, split in zip(alone, alone[::-1], both, strict=True):
        errors = [
            stages.test_errors(replace(force_field, z=split.test.z), split.test)["force_mae"]
            for force_field in (mine, shared, other)
        ]
        assert errors[1] < 0.5 * errors[2] and errors[1] < 1.5 * errors[0], errors


# The runs


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def test_the_pretraining_is_one_run_for_all_molecules():
    other = replace(MULTI, molecule="formic_acid")
    (shared,) = MULTI.builds_on
    assert other.builds_on[0] == shared and other.key != MULTI.key
    assert (shared.method, shared.molecule) == ("multi-not-tuned", "formic_acid")  # the first of their names
    alone = replace(MULTI, method="asteroid-not-tuned")
    thetas_a = [replace(alone, molecule=name).builds_on[0] for name in ("formic_acid", "methanol")]
    assert list(shared.builds_on) == thetas_a
    assert replace(MULTI, together=dict(reversed(LEVELS.items()))).key == MULTI.key
    assert replace(MULTI, together=LEVELS | {"ethanol": "ccsd(t)"}, inaccurate="gfn2").key != MULTI.key


def test_molecules_that_a_method_does_not_train_together_are_no_part_of_its_run():
    for method in ("standard", "asteroid", "inaccurate", "fidelity"):
        spec = replace(MULTI, method=method)
        assert spec.together == () and spec == replace(spec, together=LEVELS)
        assert "together" not in spec.settings


def test_a_record_names_the_labels_of_all_its_molecules():
    accurate, cheap = (
        {f"{level} of {molecule}": datasets.load(molecule, level).fingerprint for molecule in LEVELS}
        for level in ("ccsd(t)", "pbe")
    )
    assert fingerprints(MULTI) == fingerprints(MULTI.builds_on[0]) == accurate | cheap
    assert fingerprints(replace(MULTI, method="asteroid")).keys() == {"ccsd(t) of methanol", "pbe of methanol"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"together": ()}, r"together are \[\]; expected two or more"),
        ({"together": {"methanol": "ccsd(t)"}}, r"together are \['methanol'\]; expected two or more"),
        ({"together": {"methanol": "ccsd(t)", "mine/methanol.npz": "ccsd(t)"}}, "two or more different molecules"),
        ({"together": ("methanol", "formic_acid")}, "expected the accurate level of each molecule"),
        ({"molecule": "ethanol"}, "ethanol at ccsd.* is not among those that are trained together"),
        ({"accurate": "pbe"}, "methanol at pbe is not among .*same accurate level"),
    ],
)
def test_molecules_that_cannot_be_trained_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(MULTI, **changes)


def test_a_sweep_makes_what_others_build_on_first_and_once(store, trainings):
    specs = [replace(MULTI, molecule=molecule) for molecule in LEVELS]
    (shared,) = MULTI.builds_on
    asked = [*specs, replace(MULTI, method="asteroid-not-tuned"), shared.builds_on[0]]
    first, second, third = sweeps.waves(asked, store)
    assert {spec.key for spec in first} == {spec.key for spec in shared.builds_on}
    assert [spec.key for spec in second] == [shared.key]
    assert [spec.key for spec in third] == [spec.key for spec in asked[:3]]
    plan = workload.overview(specs, {})
    with ThreadPoolExecutor(1) as executor:
        records = sweeps.sweep(specs, store, executor, **QUIET)
    assert plan["runs"].sum() == 5 and plan["steps"].sum() == sum(call["config"].steps for call in trainings)
    assert set(plan["molecule"]) == {*LEVELS, "several"}
    assert [record.spec.molecule for record in records] == list(LEVELS)
    assert sweeps.waves(specs, store) == []
    assert len(list(store.folder.glob("*.json"))) == 5 and not list(store.folder.glob("work/*"))
    assert [list(record.histories) for record in records] == [["inaccurate-gamma1", "inaccurate-gamma1-tuned"]] * 2
    shared_record = store.get(shared)
    assert records[0].histories["inaccurate-gamma1"] == shared_record.histories["inaccurate-gamma1"]
    assert shared_record.gamma == 1.0 and shared_record.bias_quantiles is not None
    assert min(record.seconds for record in records) > shared_record.seconds
    costs = [runs.run(replace(MULTI, method="inaccurate", molecule=name), store, **QUIET) for name in LEVELS]
    total = sum(record.label_seconds["inaccurate"] for record in costs)
    assert records[0].label_seconds["inaccurate"] == pytest.approx(total)
    alone = runs.run(specs[0], Store(store.folder / "alone"), **QUIET)
    assert alone.errors == records[0].errors


@pytest.mark.filterwarnings("ignore:a run failed:UserWarning")
def test_where_stage_one_of_one_molecule_fails_what_builds_on_it_fails_too(store, monkeypatch):
    original = training.fit

    def failing(model, train, *args, **options):
        if [one.molecule for one in training.as_list(train)] == ["formic_acid"]:
            raise training.TrainingDiverged("NaN")
        return original(model, train, *args, **options)

    monkeypatch.setattr(training, "fit", failing)
    with ThreadPoolExecutor(1) as executor:
        assert sweeps.sweep([MULTI], store, executor, **QUIET) == []
    names = sorted(path.name.split("-a6")[0] for path in (store.folder / "failures").iterdir())
    assert names == ["formic_acid-egnn-multi-not-tuned", "formic_acid-egnn-standard", "methanol-egnn-asteroid-multi"]


@pytest.mark.parametrize("name", profiles.names())
def test_profiles_train_their_molecules_together_at_the_smallest_budget(name):
    profile = profiles.load(name)
    specs = profile.low_resource("asteroid-multi", "egnn")
    assert [spec.molecule for spec in specs] == [molecule for molecule in profile.together for _ in profile.seeds]
    asteroid = profile.low_resource("asteroid", "egnn", profile.together)
    numbers = ("budget", "inaccurate_budget", "seed", "molecule", "accurate")
    assert [[getattr(spec, name) for name in numbers] for spec in specs] == [
        [getattr(spec, name) for name in numbers] for spec in asteroid
    ]
    assert all(set(dict(spec.together)) == set(profile.together) for spec in specs)
