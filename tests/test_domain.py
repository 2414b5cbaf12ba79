"""Domains: what a force field has seen, and what is beyond it."""

import json

import pytest
import tiny
import torch

from asteroid import stages
from asteroid.domain import Domain, distances


@pytest.fixture
def frames() -> torch.Tensor:
    return tiny.methanol().train.pos


def test_distances_are_those_of_all_pairs(frames):
    expected = torch.cdist(frames, frames)
    rows, columns = torch.triu_indices(frames.shape[1], frames.shape[1], 1)
    torch.testing.assert_close(distances(frames), expected[:, rows, columns])


def test_what_was_seen_is_within_wherever_the_molecule_lies(frames):
    domain = Domain.of(frames, 500.0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=frames.dtype))[0]
    assert all(domain.left_by(pos @ turn + 7.0, tolerance=1e-9) is None for pos in frames)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_stretched_or_squeezed_bond_is_named_with_the_lengths_seen(frames, factor):
    domain = Domain.of(frames)
    lengths = (frames[:, 0] - frames[:, 1]).norm(dim=-1)
    pos = frames[0].clone()
    pos[1] = pos[0] + factor * (pos[1] - pos[0])
    seen = f"{lengths.min():.2f} to {lengths.max():.2f} Å"
    alone = Domain(None, domain.shortest[:1], domain.longest[:1])
    assert alone.left_by(pos[:2]) == (
        f"atoms 0 and 1 are {factor * lengths[0]:.2f} Å apart, in the frames that were learned from {seen}"
    )
    assert domain.left_by(pos) is not None


def test_the_share_of_frames_that_are_outside(frames):
    domain = Domain.of(frames)
    assert domain.share_outside(frames) == 0
    mixed = torch.cat([frames[:6], 2 * frames[:2]])
    assert domain.share_outside(mixed) == 0.25
    assert domain.share_outside(1.1 * frames[:4]) == 0 and domain.share_outside(1.1 * frames[:4], tolerance=1e-3) > 0


def test_in_another_order_a_pair_has_the_lengths_of_all_pairs_of_its_elements(frames):
    z, order = torch.tensor([6, 8, 1, 1, 1, 1]), [5, 1, 2, 4, 0, 3]
    domain = Domain.of(frames, 500.0)
    assert domain.reordered(z, z) is domain
    other = domain.reordered(z, z[order])
    lengths = torch.cdist(frames, frames)
    rows, columns = torch.triu_indices(6, 6, 1)
    for place, (first, second) in enumerate(zip(z[order][rows].tolist(), z[order][columns].tolist())):
        alike = (z == first)[:, None] & (z == second)[None] & ~torch.eye(6, dtype=torch.bool)
        seen = torch.tensor([other.shortest[place], other.longest[place]], dtype=lengths.dtype)
        torch.testing.assert_close(seen, torch.stack([lengths[:, alike].min(), lengths[:, alike].max()]))
    assert other.temperature == 500.0
    assert all(other.left_by(pos[order], tolerance=1e-9) is None for pos in frames)


def test_two_domains_together_have_seen_what_either_has(frames):
    first, second = Domain.of(frames[:4], 300.0), Domain.of(frames[4:], 500.0)
    assert first.joined(second) == second.joined(first) == Domain.of(frames, 500.0)
    assert first.joined(Domain.of(frames[4:])).temperature == 300.0


def test_a_force_field_carries_the_domain_of_all_its_stages(tmp_path):
    split = tiny.methanol()
    field = stages.asteroid(split, tiny.RECIPE, progress=False)
    temperature = split.train.provenance["temperature_K"]
    together = torch.cat([split.train.pos, split.inaccurate.pos])
    learned = stages.standard(split.train, split.valid, tiny.RECIPE, progress=False)
    assert learned.domain == Domain.of(split.train.pos, temperature)
    # Stage 2 holds out some of its cheap labels.
    assert all(field.domain.left_by(pos, tolerance=0.25) is None for pos in together)
    assert field.domain != learned.domain
    field.save(tmp_path / "field.safetensors")
    again = type(field).load(tmp_path / "field.safetensors")
    assert again.domain == field.domain == Domain.from_json(json.loads(json.dumps(field.domain.to_json())))
