"""Labels that contradict themselves, frames that stand out or repeat, and isomers."""

import time
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from asteroid import training, units
from asteroid.datasets import DatasetError, LabelledSet, consistency, load, split, structure
from asteroid.planning.bias import bias_report


@pytest.fixture(scope="module")
def accurate() -> LabelledSet:
    return load("methanol", "ccsd(t)")


# Labels that contradict themselves


def of_fifty() -> LabelledSet:
    return load("formic_acid", "ccsd(t)")[:50]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"force": -s.force}, r"change -\d.* look like gradients"),
        (lambda s: {"force": s.force * units.LENGTH["bohr"]}, r"change 1\.[89].*per bohr.*force_unit='hartree/bohr'"),
        (lambda s: {"force": s.force / units.LENGTH["bohr"]}, r"change 0\.5.*positions in bohr\? Say so by force_unit"),
        (lambda s: {"energy": s.energy * units.ENERGY["eV"]}, r"change 2[23].*different units\? Say so by force_unit"),
        (lambda s: {"force": s.force.roll(1, dims=0)}, "would turn the molecule: .* in frame .* of one frame"),
        (lambda s: {"force": s.force.roll(1, dims=1)}, "would turn the molecule: .* one order of atoms"),
        (lambda s: {"force": s.force.roll(1, dims=2)}, "would turn the molecule: .* in one orientation"),
        (lambda s: {"pos": s.pos + 10 * (s.pos > s.pos.mean(1, keepdim=True) + 1)}, "not cut by a periodic cell"),
    ],
    ids=["gradients", "per bohr", "per Å", "eV", "other frame", "other order", "other orientation", "cut"],
)
@pytest.mark.parametrize("molecule", ["formic_acid", "ethanol"])
def test_labels_that_contradict_themselves_are_refused(change: object, message: str, molecule: str) -> None:
    labelled = load(molecule, "ccsd(t)")[:200]
    with pytest.raises(DatasetError, match=message):
        replace(labelled, **change(labelled))


def test_energies_of_other_frames_are_suspicious() -> None:
    labelled = of_fifty()
    with pytest.warns(UserWarning, match=r"correlation of -?0\.\d.*same frames and the same level"):
        replace(labelled, energy=labelled.energy.roll(1))
    with pytest.warns(UserWarning, match="correlation of 0.00"):
        replace(labelled, energy=torch.zeros_like(labelled.energy))


def test_a_single_turned_frame_is_named() -> None:
    labelled = of_fifty()
    force = labelled.force.clone()
    force[17] = force[17].roll(1, dims=-1)
    with pytest.warns(UserWarning, match="1 of 50 frames .* Suspicious: frame 17.*skip="):
        replace(labelled, force=force)


def test_forces_that_would_move_the_molecule_are_refused(accurate: LabelledSet) -> None:
    """As where those of a fixed atom are written as zero."""
    few, lacking = accurate[:60], accurate.force[:60].clone()
    lacking[:, 0] = 0
    with pytest.raises(DatasetError, match="would move the molecule: their sum, .* 60 of 60 frames .* fixed atoms"):
        replace(few, force=lacking)
    single = few.force.clone()
    single[17] = lacking[17]
    with pytest.warns(UserWarning) as given:
        replace(few, force=single)
    assert "would move the molecule" in str(given[0].message) and "Suspicious: frame 17." in str(given[0].message)


@pytest.mark.parametrize("molecule", ["formic_acid", "methanol"])
def test_frames_that_stand_out_are_named(molecule: str) -> None:
    labelled = load(molecule, "ccsd(t)")[:60]
    energy, force = labelled.energy.clone(), labelled.force.clone()
    force[[7, 31]] *= 100
    energy[31] += 1e5
    with pytest.warns(UserWarning, match="frames 7, 31 stand out: the mean force of frame 7 is .*skip=") as given:
        replace(labelled, energy=energy, force=force)
    assert len(given) == 1  # they do not count where energies are held against forces


def test_forces_of_a_trajectory_of_minima_are_no_contradiction() -> None:
    """What is left there is the noise of an integration grid."""
    few = load("methanol", "pbe")[:5]
    noise = torch.randn(few.force.shape, dtype=few.force.dtype, generator=torch.Generator().manual_seed(0))
    replace(few, force=few.force / 100 + 0.05 * noise)


def isomer_of(labelled: LabelledSet) -> LabelledSet:
    """Ethanol's frames with the atoms of dimethyl ether: the oxygen between two methyl groups."""
    heavy = torch.tensor([[-1.17, 0, 0.0], [1.17, 0, 0], [0, 0.8, 0]])
    methyl = torch.tensor([[-0.36, -1.03, 0.0], [-0.36, 0.36, 0.96], [-0.36, 0.36, -0.96]])
    order = labelled.z.argsort(descending=True, stable=True)
    geometry = torch.cat([heavy[2:], heavy[:2], heavy[0] + methyl, heavy[1] - methyl * torch.tensor([1, -1, 1])])
    pos = torch.empty_like(labelled.pos[0])
    pos[order] = geometry.to(pos)
    return labelled.derived(pos=pos.expand_as(labelled.pos).clone(), force=torch.zeros_like(labelled.force))


def test_isomers_are_told_apart_by_their_bonds() -> None:
    ethanol = load("ethanol", "ccsd(t)")[:40]
    ether = isomer_of(ethanol)
    with pytest.raises(DatasetError, match=r"are isomers: \w+ and \w+ are bonded in the first set only"):
        split(ethanol, ether, 10, 0, valid=5)
    both = torch.cat([ethanol.pos[:30], ether.pos[:2]])
    with pytest.warns(UserWarning, match="frames 30, 31 have other bonds than the first: .*divide them"):
        consistency.check_isomers(ethanol.z, both, "both")


def test_forces_that_are_zero_were_not_computed() -> None:
    labels = load("methanol", "gfn2")[:60]
    with pytest.raises(DatasetError, match="all forces are zero in frames 0, 1, .* 60 of 60"):
        replace(labels, force=0 * labels.force)
    some = labels.force.clone()
    some[7] = 0
    with pytest.warns(UserWarning, match="all forces are zero in frame 7, 1 of 60"):
        replace(labels, force=some)


def test_a_hydrogen_atom_that_goes_to_the_other_oxygen_makes_no_isomer() -> None:
    load("malonaldehyde", "gfn2")  # where it does, and warnings are errors


# Repeated frames


def turned(labelled: LabelledSet) -> LabelledSet:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    return replace(labelled, pos=labelled.pos @ rotation + 5, force=labelled.force @ rotation)


def mirrored(labelled: LabelledSet) -> LabelledSet:
    mirror = torch.tensor([1.0, -1, 1], dtype=torch.float64)
    return replace(labelled, pos=labelled.pos * mirror, force=labelled.force * mirror)


def exchanged(labelled: LabelledSet) -> LabelledSet:
    """Two hydrogen atoms in each other's places."""
    order = torch.arange(len(labelled.z))
    one, other = (labelled.z == 1).nonzero()[:2, 0]
    order[one], order[other] = other, one
    return replace(labelled, pos=labelled.pos[:, order], force=labelled.force[:, order])


COPIES = {
    "as they are": lambda s: s,
    "rounded": lambda s: replace(s, pos=(s.pos * 1e3).round() / 1e3),
    "turned": turned,
    "mirrored": mirrored,
    "exchanged": exchanged,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_frame_that_stands_twice_is_on_one_side_only(how: str, accurate: LabelledSet) -> None:
    few = accurate[:60]
    copies = COPIES[how](few[:20])
    both = few.derived(
        **{name: torch.cat([getattr(few, name), getattr(copies, name)]) for name in ("pos", "energy", "force")},
        seconds=None,
    )
    parts = split(both, both, 30, seed=1, valid=10)
    assert len(parts.test) == 20
    energies = [set(part.energy.tolist()) for part in (parts.train, parts.valid, parts.test)]
    assert len(set.union(*energies)) == 60 == sum(map(len, energies))  # the energy is that of the copy, too
    assert not set(parts.inaccurate.energy.tolist()) & (energies[1] | energies[2])
    with pytest.raises(DatasetError, match=r"60 ccsd\(t\) labels of methanol \(20 that repeat others do not count\)"):
        split(both, None, 60, seed=1)


@pytest.mark.parametrize("how", COPIES)
def test_a_frame_that_md17_has_twice_is_on_one_side_only(how: str, accurate: LabelledSet) -> None:
    """Its parts keep their test frames: those of validation and training that repeat one are left out."""
    few = accurate[:60].derived(provenance={"dataset": "MD17"})
    copies = COPIES[how](few[:20])
    both = few.derived(
        **{name: torch.cat([getattr(few, name), getattr(copies, name)]) for name in ("pos", "energy", "force")},
        seconds=None,
    )
    small, parts = (split(both, both, budget, seed=1, valid=15, test=25) for budget in (20, 40))
    energies = [set(part.energy.tolist()) for part in (parts.train, parts.valid, parts.test)]
    assert len(set.union(*energies)) == 60 == sum(map(len, energies))
    assert len(parts.test) == 25 and 30 < len(parts.train) < 40
    assert not set(parts.inaccurate.energy.tolist()) & (energies[1] | energies[2])
    assert torch.equal(small.train.pos, parts.train.pos[: len(small.train)])


def test_many_copies_of_few_frames_are_found_soon(accurate: LabelledSet) -> None:
    rows = torch.arange(20_000) % 7
    copies = accurate[rows]
    started = time.perf_counter()
    kept = structure.without_repeats(copies.z, copies.pos, np.arange(len(rows))[::-1])
    assert kept.tolist() == list(range(19_999, 19_992, -1))
    assert time.perf_counter() - started < 10  # of pairs it would take an hour


@pytest.mark.parametrize("few", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("molecule", ["ethanol", "malonaldehyde"])
def test_copies_of_few_frames_are_no_contradiction(few: int, molecule: str) -> None:
    """What so few frames say of the slope is chance."""
    labelled = load(molecule, "pbe")
    replace(labelled[torch.arange(200) % few])


def test_a_contradiction_is_found_among_copies() -> None:
    labelled = load("ethanol", "pbe")
    rows = torch.cat([torch.zeros(2000, dtype=torch.int64), torch.arange(100)])
    replace(labelled[rows])
    with pytest.raises(DatasetError, match="look like gradients"):
        replace(labelled[rows], force=-labelled.force[rows])


def test_frames_that_are_common_but_for_a_turn_are_counted(accurate: LabelledSet) -> None:
    few = accurate[:20]
    other = turned(few).derived(level="cheap")
    both = other.derived(
        **{name: torch.cat([getattr(few, name)[:3], getattr(other, name)[3:]]) for name in ("pos", "energy", "force")}
    )
    with pytest.raises(DatasetError, match=r"3 of the 20 frames of ccsd\(t\) have .*, and 17 more would if .* turned"):
        bias_report(few, both)


def test_a_distance_that_never_changes_leaves_the_report_as_it_is(accurate: LabelledSet) -> None:
    """As dynamics with constraints keeps it; 0.002 Å of play are the measure."""
    pos = accurate.pos[:60].clone()
    hydrogen = int((accurate.z == 1).nonzero()[-1])
    bond = pos[:, hydrogen] - pos[:, 1]
    pos[:, hydrogen] = pos[:, 1] + 0.96 * bond / bond.norm(dim=1, keepdim=True)
    loose = pos.clone()
    play = torch.randn(60, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loose[:, hydrogen] += 0.002 * play * bond / bond.norm(dim=1, keepdim=True)
    errors = []
    for frames in (pos, loose):
        labels = [computed(accurate[:60], frames, epsilon) for epsilon in (0.3, 0.2)]
        errors.append(bias_report(*labels).error)
    assert errors[0] == pytest.approx(errors[1], rel=0.5)


def computed(like: LabelledSet, pos: torch.Tensor, size: float) -> LabelledSet:
    """Labels of springs of one size between all atoms, of a length that all of them have, and a cubic term."""
    x = pos.clone().requires_grad_()
    i, j = torch.triu_indices(len(like.z), len(like.z), 1)
    stretch = (x[:, i] - x[:, j]).norm(dim=2) - 1.7
    energy = size * (50 * stretch.square() + 20 * stretch**3).sum(dim=1)
    force = -torch.autograd.grad(energy.sum(), x)[0]
    return like.derived(level=f"springs of {size}", pos=pos, energy=energy.detach(), force=force)


def test_an_energy_that_went_astray_does_not_move_the_shift(accurate: LabelledSet) -> None:
    few = accurate[:40]
    energy = few.energy.clone()
    energy[3] += 1e5
    model = tiny.model(dtype=torch.float64)
    shift = training.energy_shift(model, few)
    assert training.energy_shift(model, few.derived(energy=energy)) == pytest.approx(shift, abs=1)
    lacking = few.energy - model(few.z, few.pos).detach()
    assert shift == pytest.approx(float(lacking.mean()))  # of all, where none went astray
