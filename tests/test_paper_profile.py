"""The paper profile on files in the layout of MD17 and MD17@CCSD(T): every run finds its frames and gives a record."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asteroid import datasets, profiles, runs
from asteroid.datasets import sources
from asteroid.runs import RunSpec, Store, sweeps
from asteroid.runs import labels as run_labels
from asteroid.training import TrainConfig

PAPER = profiles.load("paper")
METHODS = ("standard", "inaccurate", "asteroid", "score-matching-not-tuned", "score-matching")
ATOMS = {  # in no particular order
    "aspirin": [6] * 9 + [8] * 4 + [1] * 8,
    "benzene": [6] * 6 + [1] * 6,
    "ethanol": [6, 6, 8] + [1] * 6,
    "malonaldehyde": [6, 6, 6, 8, 8] + [1] * 4,
    "toluene": [6] * 7 + [1] * 8,
}
TESTED = {"ethanol": 1000, "toluene": 501}  # frames of the published test parts, elsewhere 500
DFT = 5000  # hundred thousands in truth


def frames(molecule: str, first: int, number: int) -> dict[str, np.ndarray]:
    """Arrays of an MD17 file: atoms on a lattice, noise, a spring between each two; a frame moves by 0.001 Å."""
    generator = np.random.default_rng([len(molecule), first])
    z = np.array(ATOMS[molecule], dtype=np.uint8)
    place = 1.3 * np.argwhere(np.ones((3, 3, 3)))[: len(z)]
    noise = generator.normal(scale=0.05, size=(number, len(z), 3))
    noise -= noise.mean(axis=1, keepdims=True)
    i, j = np.triu_indices(len(z), 1)
    pos = place + noise
    arm = pos[:, i] - pos[:, j]
    length, rest = np.linalg.norm(arm, axis=2, keepdims=True), np.linalg.norm(place[i] - place[j], axis=1)[:, None]
    energy, pull = (50 / len(z) * (length - rest) ** 2).sum(axis=1), -100 / len(z) * (length - rest) * arm / length
    force = np.zeros_like(pos)
    np.add.at(force, (slice(None), i), pull)
    np.add.at(force, (slice(None), j), -pull)
    pos[:, :, 0] += 0.001 * np.arange(first, first + number)[:, None] - place[:, 0].mean()
    return {"R": pos, "z": z, "E": energy, "F": force, "name": molecule, "theory": "", "type": "d"}


def numbers(labelled: datasets.LabelledSet) -> torch.Tensor:
    """Which frames of the file they are, by where they stand."""
    return (1000 * labelled.pos[:, :, 0].mean(dim=1)).round()


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    """What quantum-machine.org has, by file name."""
    files = {}
    for molecule in ATOMS:
        content = io.BytesIO()
        np.savez(content, **frames(molecule, 10_000, DFT))
        files["md17_benzene2017.npz" if molecule == "benzene" else f"md17_{molecule}.npz"] = content.getvalue()
        name, archive = f"{molecule}_{'ccsd' if molecule == 'aspirin' else 'ccsd_t'}", io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            for part, first, number in (("train", 0, 1000), ("test", 1000, TESTED.get(molecule, 500))):
                content = io.BytesIO()
                np.savez(content, **frames(molecule, first, number))
                opened.writestr(f"{name}-{part}.npz", content.getvalue())
        files[f"{name}.zip"] = archive.getvalue()
    return files


@pytest.fixture(scope="module")
def root(published, tmp_path_factory):
    """An empty folder for MD17, which is downloaded into it."""
    folder = tmp_path_factory.mktemp("md17")

    def download_url(url: str, to: str) -> str:
        path = Path(to) / url.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(published[path.name])
        return str(path)

    sources.pyg_md17()  # importing it here would warn
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASTEROID_MD17", str(folder))
        patch.setattr("torch_geometric.datasets.md17.download_url", download_url)
        yield folder
    run_labels._read.cache_clear()


def specs_of(molecule: str, model: str = "egnn") -> list[RunSpec]:
    """The runs of a molecule and one seed."""
    found = [spec for method in METHODS for spec in PAPER.specs(method, model, (f"md17:{molecule}",))]
    # MD17 has no labels of an empirical force field.
    return [spec for spec in found if spec.seed == PAPER.seeds[0] and spec.inaccurate != PAPER.empirical.level]


@pytest.mark.parametrize("molecule", ATOMS)
def test_every_run_finds_its_frames(molecule, root):
    """As many as the profile says, those for testing from the part that was published for it."""
    for spec in specs_of(molecule):
        if spec.inaccurate_budget < DFT:
            split = runs.split_of(spec)
            assert (len(split.train), len(split.valid), len(split.test)) == (max(spec.budget, 1), 50, 500)
            assert max(numbers(split.train).max(), numbers(split.valid).max()) < 1000 <= numbers(split.test).min()
            assert numbers(split.test).max() < 1000 + TESTED.get(molecule, 500)
            assert len(split.inaccurate or ()) == spec.inaccurate_budget


def shortened(spec: RunSpec) -> RunSpec:
    """The run with few steps and frames."""
    short = {"steps": 2, "eval_every": 1, "batch_size": 2}
    recipe = spec.recipe
    stages = [field.name for field in fields(recipe) if isinstance(getattr(recipe, field.name), TrainConfig)]
    recipe = replace(recipe, **{stage: replace(getattr(recipe, stage), **short) for stage in stages})
    budgets = {name: min(getattr(spec, name), 6) for name in ("budget", "inaccurate_budget")}
    return replace(spec, **budgets, valid=3, test=4, recipe=recipe)


def test_the_profile_lists_its_molecules_as_md17_has_them():
    assert PAPER.molecules == tuple(f"md17:{molecule}" for molecule in ATOMS)


@pytest.mark.parametrize(("molecule", "model"), [("aspirin", "egnn"), ("ethanol", "gemnet-t")])
def test_every_method_runs_to_a_record(molecule, model, root, tmp_path):
    specs = list(dict.fromkeys(map(shortened, specs_of(molecule, model))))
    assert [spec.method for spec in specs] == list(METHODS)
    with ThreadPoolExecutor(1) as executor:
        records = sweeps.sweep(specs, Store(tmp_path), executor, progress=False)
    assert [record.spec.method for record in records] == list(METHODS)
    assert all(np.isfinite(record.errors["force_mae"]) for record in records)
    assert records[2].gamma in PAPER.recipe(model).gammas
    # The page on score matching shows the error against the forces that drove the simulation.
    blind = records[3].errors
    assert blind[f"force_mae_{records[3].spec.accurate}"] == pytest.approx(blind["force_mae"])
    assert 0 < blind["force_mae_dft"] != pytest.approx(blind["force_mae"])
    assert len(runs.overview(records)) == len(METHODS)


def test_molecules_of_different_accurate_levels_are_pretrained_together(root, tmp_path):
    spec = shortened(PAPER.specs("asteroid-multi", "egnn", ("md17:aspirin",))[0])
    (shared,) = spec.builds_on
    assert {theta_a.molecule: theta_a.accurate for theta_a in shared.builds_on} == dict(PAPER.accurate)
    record = runs.run(spec, Store(tmp_path), progress=False)
    assert np.isfinite(record.errors["force_mae"]) and len(list(tmp_path.glob("*.json"))) == 2 + len(ATOMS)


def test_revised_md17_is_as_good(root):
    arrays = frames("benzene", 0, DFT)
    path = root / "raw" / "rmd17" / "npz_data" / "rmd17_benzene.npz"
    path.parent.mkdir(parents=True)
    names = {"coords": "R", "nuclear_charges": "z", "energies": "E", "forces": "F"}
    np.savez(path, **{theirs: arrays[ours] for theirs, ours in names.items()})
    spec = next(spec for spec in specs_of("benzene") if spec.method == "asteroid")
    split = runs.split_of(replace(spec, inaccurate="dft-revised"))
    assert (split.inaccurate.level, len(split.inaccurate)) == ("dft-revised", spec.inaccurate_budget)


def test_labels_of_an_empirical_force_field_are_found_beside_md17(root):
    """MD17 has none; whoever wants them is told how to make them."""
    (spec, *_) = PAPER.empirical_specs("egnn", ("md17:ethanol",))
    spec = replace(spec, inaccurate_budget=100)
    with pytest.raises(datasets.DatasetError, match="no level 'mmff'.*asteroid label --level mmff.*ethanol_mmff"):
        runs.split_of(spec)
    own = replace(datasets.load("md17:ethanol", "dft"), level="mmff", provenance={})
    datasets.save(own, root / "ethanol_mmff.npz")
    split = runs.split_of(spec)
    assert split.inaccurate.level == "mmff" and len(split.inaccurate) == 100
    assert torch.equal(split.inaccurate.z, split.train.z)


def test_a_part_of_the_published_frames_is_split_like_any_other(root):
    whole = datasets.load("md17:ethanol", "ccsd(t)")
    part = datasets.split(whole[900:1200], None, 250, 0, valid=40)
    assert len(part.test) == 10
    with pytest.raises(datasets.DatasetError, match="1000 ccsd.* published for training.*largest possible budget.*950"):
        datasets.split(whole, None, 960, 0)
    with pytest.raises(datasets.DatasetError, match="test is 1001, but the published test part has 1000"):
        datasets.split(whole, None, 100, 0, test=1001)
    assert len(datasets.split(whole, None, 100, 0).test) == 1000
