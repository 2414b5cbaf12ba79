"""Energies between frames by what their forces say: those of a random energy in the distances between atoms."""

import numpy as np

_RIDGE = 1e-3  # of the mean squared feature
_ITERATIONS = 300  # of conjugate gradients, after which nothing changes that an energy shows
_LEAST_SPREAD = 0.05, 1e-4  # of the mean one; 1/Å


def distortion(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How far the pairs of atoms of frames (frames, atoms, 3), Å, are from where they are on average.

    Returns:
        The atoms i and j of each pair, (pairs,) both; q (frames, pairs), inverse distances in standard deviations from
        their means; and (frames, pairs, 3), −∂q/∂x of atom i, 1/Å, that of atom j being the opposite.
    """
    i, j = np.triu_indices(pos.shape[1], 1)
    apart = pos[:, i] - pos[:, j]  # (frames, pairs, 3)
    inverse = 1 / np.linalg.norm(apart, axis=2)
    spread = inverse.std(axis=0)
    # A distance that never changes, as in dynamics with constraints, has no standard deviation to be measured in.
    spread = np.maximum(spread, max(_LEAST_SPREAD[0] * spread.mean(), _LEAST_SPREAD[1]))
    return i, j, (inverse - inverse.mean(axis=0)) / spread, apart * (inverse**3 / spread)[:, :, None]


def integrated(pos: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Energies, up to a constant, of which forces are the negative gradient.

    The energy is of first and second degree in the distortion q, with the covariance (1 + q·q')² / 2, and fitted to the
    forces alone by ridge regression. With u = Σ J_a F_a, by which forces act on pairs, the covariance of forces takes u
    to Σ' (1 + q·q') u' + (q·u') q', so that it is never written down, and conjugate gradients solve in a second what a
    matrix of all components would take minutes for.

    Args:
        pos: (frames, atoms, 3), Å.
        force: (frames, atoms, 3), kcal/mol/Å.

    Returns:
        (frames,), kcal/mol.
    """
    i, j, q, slope = distortion(pos)
    frames, atoms, _ = pos.shape
    slopes = np.zeros((frames, atoms, atoms, 3))
    slopes[:, i, j], slopes[:, j, i] = slope, -slope
    likeness = 1 + q @ q.T  # (frames, frames)

    def of_pairs(vector: np.ndarray) -> np.ndarray:
        return ((vector[:, i] - vector[:, j]) * slope).sum(axis=2)

    def of_atoms(pull: np.ndarray) -> np.ndarray:
        both = np.zeros((frames, atoms, atoms))
        both[:, i, j] = both[:, j, i] = pull
        return np.einsum("fabk,fab->fak", slopes, both)

    # The covariance within a frame, (frames, 3 · atoms, the same), is the preconditioner.
    within = -np.einsum("fabk,fabl->fakbl", slopes, slopes)
    own = np.arange(atoms)
    within[:, own, :, own] = np.einsum("fabk,fabl->afkl", slopes, slopes)
    pulled = of_atoms(q).reshape(frames, -1)
    within = likeness.diagonal()[:, None, None] * within.reshape(frames, 3 * atoms, 3 * atoms)
    within += pulled[:, :, None] * pulled[:, None]
    ridge = _RIDGE * np.trace(within, axis1=1, axis2=2).sum() / force.size
    inverse = np.linalg.inv(within + ridge * np.eye(3 * atoms))

    weight, left = np.zeros_like(force), force
    step, size = np.zeros_like(force), 1.0
    for _ in range(_ITERATIONS):
        guess = np.einsum("fab,fb->fa", inverse, left.reshape(frames, -1)).reshape(force.shape)
        before, size = size, (guess * left).sum()
        step = guess + size / before * step
        pull = of_pairs(step)
        moved = of_atoms(likeness @ pull + (q @ pull.T) @ q) + ridge * step
        rate = size / (step * moved).sum()
        weight, left = weight + rate * step, left - rate * moved
        if np.square(left).sum() < 1e-4 * np.square(force).sum():
            break
    return (likeness * (q @ of_pairs(weight).T)).sum(axis=1)
