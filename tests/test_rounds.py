"""Budgets spent in rounds: what is bought, what it costs, and that every way costs the same."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
from scipy import stats

from asteroid import plots, profiles, runs
from asteroid.planning import planner, rounds
from asteroid.planning.pilots import ErrorModel
from asteroid.runs import sweeps
from asteroid.runs.records import Store
from asteroid.runs.selection import CHOICES


@pytest.fixture(scope="module")
def profile() -> profiles.Profile:
    """The smoke profile with even shorter trainings of one seed."""
    smoke = profiles.load("smoke")
    recipe = replace(tiny.RECIPE, model="egnn")
    return replace(smoke, recipes={"egnn": recipe}, seeds=(0,), valid=5, test=8)


@pytest.fixture(scope="module")
def spent(profile, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("results"))

    def one_by_one(specs, store):
        return [runs.run(spec, store, progress=False) for spec in specs]

    with pytest.MonkeyPatch.context() as patch:  # processes would take longer to start than to train
        patch.setattr(sweeps, "sweep", one_by_one)
        return store, *rounds.compare(profile, "methanol", store)


def test_every_way_and_round_has_a_row(profile, spent):
    _, table, records = spent
    expected = {rounds.ONE_PLAN: 2, rounds.ACCURATE_ONLY: 1} | dict.fromkeys(
        CHOICES.values(), profile.planner.rounds.number + 1
    )
    assert table.groupby("way").size().to_dict() == expected
    assert table["error"].notna().all() and (table["rmse"] >= table["error"]).all()
    alone = table[table["way"] == rounds.ACCURATE_ONLY].iloc[0]
    assert (alone["accurate"], alone["cheap"]) == (profile.planner.rounds.budget, 0)
    assert table["expected"].isna().tolist() == ((table["round"] == 0) | (table["cheap"] == 0)).tolist()
    assert {record.spec.selection.by for record in records if record.spec.selection} == set(CHOICES)
    assert len({record.key for record in records}) == len(records)


@pytest.mark.parametrize("lost", [0, -1])
def test_a_round_is_not_told_without_a_run_that_failed(lost, profile, spent, monkeypatch):
    failed = rounds.pilot_specs(profile, "methanol")[lost]
    store = spent[0]
    monkeypatch.setattr(sweeps, "sweep", lambda specs, _: [store.get(spec) for spec in specs if spec != failed])
    with pytest.raises(RuntimeError, match=f"{failed.file_name} failed"):
        rounds.compare(profile, "methanol", store)


def test_labels_are_only_added_and_the_budget_is_spent(profile, spent):
    _, table, _ = spent
    settings = profile.planner.rounds
    budget = table["minutes"].max()
    for _, part in table[table["way"] != rounds.ACCURATE_ONLY].groupby("way"):
        assert (part[["accurate", "cheap", "minutes"]].diff().dropna() >= 0).all(axis=None)
        assert part["accurate"].iloc[0] == max(accurate for accurate, _ in settings.asteroid)
        assert part["cheap"].iloc[0] == max(cheap for _, cheap in settings.asteroid)
        accurate = budget / settings.budget
        assert budget - part["minutes"].iloc[-1] < 1.5 * accurate  # a label that is paid for in part is not bought


def test_the_first_round_of_all_ways_is_planned_alike(spent):
    _, table, _ = spent
    several = table[table["way"].isin(CHOICES.values())].set_index("round")
    assert table.loc[table["way"] == rounds.ONE_PLAN, "round"].tolist() == [0, several.index.max()]
    assert several.loc[1, ["accurate", "cheap"]].drop_duplicates().shape == (1, 2)
    assert several.loc[0, "error"].nunique() == 1


def test_records_alone_tell_it_again(profile, spent, monkeypatch):
    store, table, _ = spent
    for path in (store.folder / "models").iterdir():
        path.unlink()
    monkeypatch.setattr(runs, "run", lambda *_, **__: pytest.fail("trained again"))
    again, _ = rounds.compare(profile, "methanol", store)
    assert again.equals(table)


def test_outcomes_by_hand():
    errors = {("at random", 1): (1.0, 2.0), ("by estimated bias", 1): (0.8, 1.0), ("at random", 2): (1.0, 1.0)}
    errors |= {("by estimated bias", 2): (1.1, 1.3), (rounds.ONE_PLAN, 2): (0.5, 0.5), ("at random", 0): (9.0, 9.0)}
    table = pd.DataFrame(
        {
            "way": way,
            "round": number,
            "seed": seed,
            "error": error,
            "rmse": 2 * error,
            "expected": 0.5,
            "accurate": 5 + seed,
            "cheap": 9,
            "minutes": number,
        }
        for (way, number), several in errors.items()
        for seed, error in enumerate(several)
    )
    found = rounds.outcome(table)
    assert set(found.index) == {key for key in errors if key[1]}
    assert found.loc[("at random", 1), ["accurate", "error", "rmse", "lower by [%]"]].tolist() == [5.5, 1.5, 3.0, 0.0]
    gains = found[["lower by [%]", "from", "to"]]
    t = stats.t.ppf(0.975, 1)  # Student's, of two values: 20 and 50, -30 and -10
    assert gains.loc["by estimated bias", 1].tolist() == pytest.approx([35, 35 - 15 * t, 35 + 15 * t])
    assert gains.loc["by estimated bias", 2].tolist() == pytest.approx([-20, -20 - 10 * t, -20 + 10 * t])
    assert gains.loc[rounds.ONE_PLAN, 2].tolist() == pytest.approx([50, 50, 50])


def test_the_figure_has_a_line_for_every_way(spent):
    _, table, _ = spent
    figure = plots.rounds(table.assign(molecule="methanol"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(dict.fromkeys(table["way"]))
    assert "[core minutes]" in figure.axes[0].get_xlabel() and "kcal/mol/Å" in figure.axes[0].get_ylabel()


@pytest.mark.parametrize("name", profiles.names())
def test_the_settings_of_a_profile_are_possible(name):
    profile = profiles.load(name)
    assert set(profile.planner.rounds.molecules) <= set(profile.planner.molecules)
    for molecule in profile.planner.rounds.molecules:
        specs = rounds.pilot_specs(profile, molecule)
        by_seed = len(specs) / len(profile.seeds)
        assert by_seed >= 8 and len(set(specs)) == len(specs)
        last, settings = specs[-1], profile.planner.rounds
        ratio = profile.planner.ratio[molecule]
        assert last.method == "asteroid"
        assert (last.budget, last.inaccurate_budget) == tuple(map(max, zip(*settings.asteroid)))
        assert last.budget + last.inaccurate_budget / ratio < settings.budget <= last.selection.candidates + last.budget
        assert max(settings.standard) <= last.budget


# A plan for what is left


ERRORS = ErrorModel(
    np.atleast_2d([0.0, np.log(10), 1.0, np.log(10), 0.5, 0.3]),
    0.0,
    most_standard=50,
    most_accurate=40,
    most_cheap=200,
    fewest_accurate=10,
)


def test_each_round_spends_as_much_of_either_kind_as_the_plan_says(profile, monkeypatch):
    errors = replace(ERRORS, draws=np.atleast_2d([0.0, np.log(10), 0.1, np.log(10), 0.4, 0.4]), most_cheap=2000)
    monkeypatch.setattr(rounds, "_fitted", lambda small: errors)
    one = rounds.pilot_specs(profile, "methanol")[-1]
    seconds, hours = (4.0, 1.0), 400 / 3600
    campaign = rounds._Campaign("at random", "random", 2, [], [(15, 50)])
    for _ in range(2):
        spec = rounds.next_run(campaign, hours, seconds, one, 3)
    spent = [accurate * seconds[0] + cheap * seconds[1] for accurate, cheap in campaign.sizes]
    assert np.diff(spent) == pytest.approx((400 - 110) / 2, abs=4)
    accurate, cheap = campaign.sizes[-1]
    assert (spec.budget, spec.inaccurate_budget, spec.seed) == (accurate, cheap, 3)
    # Both kinds count alike: the best plan spends half on each, and so does every round towards it.
    assert 4 * accurate == pytest.approx(200, abs=8) and cheap == pytest.approx(200, abs=8)
    assert np.diff([labels for _, labels in campaign.sizes]) == pytest.approx(75, abs=4)
    assert campaign.expected == [errors.predict(*size)[0] for size in campaign.sizes[1:]]


def test_a_plan_keeps_what_was_bought():
    free = planner.plan(0.1, ERRORS, 4.0, 1.0)
    for bought in ((80, 0), (10, 250)):
        kept = planner.plan(0.1, ERRORS, 4.0, 1.0, bought=bought)
        assert kept.accurate >= bought[0] and kept.cheap >= bought[1]
        assert ERRORS.predict(kept.accurate, kept.cheap)[0] >= ERRORS.predict(free.accurate, free.cheap)[0]
    same = planner.plan(0.1, ERRORS, 4.0, 1.0, bought=(free.accurate, free.cheap))
    assert (same.accurate, same.cheap) == (free.accurate, free.cheap)


def test_a_budget_that_is_spent_already_is_refused():
    with pytest.raises(ValueError, match="do not pay for 90 accurate and 100 cheap labels.*0.1278 hours"):
        planner.plan(0.1, ERRORS, 4.0, 1.0, bought=(90, 100))


@pytest.mark.parametrize(("hours", "bought"), [(0.1, (50, 159)), (0.8, (10, 2500))])  # hardly more; out of reach
def test_a_budget_that_pays_is_not_said_to_be_too_small(hours, bought):
    with pytest.raises(ValueError, match=f"leave nothing to plan in the pilots' reach after {bought[0]} accurate"):
        planner.plan(hours, ERRORS, 4.0, 1.0, bought=bought)
