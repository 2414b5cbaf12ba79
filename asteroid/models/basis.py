"""Basis functions of distances and angles, on tensors of any shape.

Angles enter as cosines or as Cartesian components, never as angles: the functions are then polynomials, smooth where an
angle is 0 or π, and no arc cosine has to be differentiated there.
"""

import math
from functools import cache, partial

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import spherical_jn
from torch import Tensor

from asteroid.models.neighbours import envelope


def radial_bessel(distance: Tensor, frequencies: Tensor, cutoff: float, exponent: int = 5) -> Tensor:
    """Bessel functions of order 0 that vanish smoothly at the cutoff.

    e_n(d) = u(d) √(2/c) sin(f_n d / c) / d with the envelope u.

    Args:
        distance: any shape, Å, not 0.
        frequencies: (radial,) f_n, which start as n π and may be trained.
        cutoff: c, Å.
        exponent: of the envelope.

    Returns:
        (..., radial).

    Source:
        Gasteiger, Groß, Günnemann, "Directional Message Passing for Molecular Graphs" (ICLR 2020), Eqs. 7 and 8.
    """
    d = distance.unsqueeze(-1)
    return envelope(d, cutoff, exponent) * math.sqrt(2 / cutoff) * torch.sin(frequencies * (d / cutoff)) / d


def spherical_bessel(distance: Tensor, degrees: int, radial: int, cutoff: float, exponent: int = 5) -> Tensor:
    """Normalised spherical Bessel functions that vanish smoothly at the cutoff.

    e_ln(d) = u(d) √(2/c³) j_l(z_ln d / c) / |j_{l+1}(z_ln)|, with z_ln the n-th root of j_l. Computed in double
    precision whatever the argument's: the recurrence j_{l+1} = (2l+1)/x j_l − j_{l−1} loses digits where x is small.

    Args:
        distance: any shape, Å, not 0.
        degrees: number of degrees l, from 0.
        radial: number of functions n per degree.
        cutoff: c, Å.
        exponent: of the envelope.

    Returns:
        (..., degrees, radial), in the precision of `distance`.

    Source:
        Gasteiger et al. 2020, Eq. 6; normalised as in Gasteiger, Becker, Günnemann (NeurIPS 2021).
    """
    roots, norms = (torch.from_numpy(array).to(distance.device) for array in _roots_and_norms(degrees, radial))
    d = distance.double().unsqueeze(-1)
    values = []
    for degree in range(degrees):
        x = d / cutoff * roots[degree]  # (..., radial)
        previous, value = torch.cos(x) / x, torch.sin(x) / x
        for k in range(degree):
            previous, value = value, (2 * k + 1) / x * value - previous
        values.append(value * (norms[degree] * math.sqrt(2 / cutoff**3)))
    return (torch.stack(values, dim=-2) * envelope(d, cutoff, exponent).unsqueeze(-1)).to(distance.dtype)


@cache
def _roots_and_norms(degrees: int, radial: int) -> tuple[np.ndarray, np.ndarray]:
    """The roots z_ln and the norms 1 / |j_{l+1}(z_ln)|: each (degrees, radial)."""
    roots = bessel_roots(degrees, radial)
    return roots, 1 / np.abs(spherical_jn(np.arange(1, degrees + 1)[:, None], roots))


def bessel_roots(degrees: int, radial: int) -> np.ndarray:
    """The first `radial` positive roots of each spherical Bessel function j_l, l < degrees: (degrees, radial)."""
    # The roots of j_{l+1} lie between those of j_l, so each degree needs one root more of the degree before.
    roots = [math.pi * np.arange(1, radial + degrees)]
    for degree in range(1, degrees):
        brackets = zip(roots[-1][:-1], roots[-1][1:], strict=True)
        roots.append(np.array([brentq(partial(spherical_jn, degree), a, b, xtol=1e-15) for a, b in brackets]))
    return np.stack([of_degree[:radial] for of_degree in roots])


def legendre(cosine: Tensor, degrees: int) -> list[Tensor]:
    """Y_l0 = √((2l+1)/4π) P_l(cos θ) for l < degrees, each of the shape of `cosine`."""
    values = [torch.ones_like(cosine), cosine]
    for degree in range(2, degrees):
        values.append(((2 * degree - 1) * cosine * values[-1] - (degree - 1) * values[-2]) / degree)
    return [math.sqrt((2 * degree + 1) / (4 * math.pi)) * value for degree, value in enumerate(values[:degrees])]


def legendre_derivatives(z: Tensor, degrees: int) -> list[list[Tensor]]:
    """The parts of the real spherical harmonics that depend on z = cos θ alone, by order m.

    Y_l,±m = N_lm Q_lm(z) (x ± iy)^m, real part for +m and imaginary part for −m, on the unit sphere; Q_lm is the m-th
    derivative of the Legendre polynomial, and N_lm² = (2 − δ_m0) (2l+1)/4π (l−m)!/(l+m)!.

    Args:
        z: any shape.
        degrees: l < degrees.

    Returns:
        For each m the values N_lm Q_lm for l = m ... degrees − 1, each of the shape of z.
    """
    by_order = []
    for m in range(degrees):
        values = [torch.full_like(z, math.prod(range(1, 2 * m, 2)))]  # (2m − 1)!!
        for degree in range(m + 1, degrees):
            before = values[-2] * (degree + m - 1) if degree > m + 1 else 0
            values.append(((2 * degree - 1) * z * values[-1] - before) / (degree - m))
        norms = [
            math.sqrt((2 if m else 1) * (2 * k + 1) / (4 * math.pi) * math.factorial(k - m) / math.factorial(k + m))
            for k in range(m, degrees)
        ]
        by_order.append([norm * value for norm, value in zip(norms, values, strict=True)])
    return by_order


def powers(x: Tensor, y: Tensor, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Real and imaginary parts of (x + iy)^m for m < count, each of the shape of x."""
    real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(count - 1):
        real, imaginary = (
            [*real, real[-1] * x - imaginary[-1] * y],
            [*imaginary, real[-1] * y + imaginary[-1] * x],
        )
    return real, imaginary


def azimuthal_axes(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors perpendicular to a unit vector and to each other, smooth in it: each (..., 3).

    Which way they point around the axis is arbitrary; only differences of azimuths about one axis have a meaning.
    The zero vector gets finite ones.
    """
    # The coordinate axis that is least along the vector, so that the rejection is never short.
    least = axis.detach().abs().argmin(dim=-1, keepdim=True)
    start = torch.zeros_like(axis).scatter(-1, least, 1)
    first = start - (start * axis).sum(-1, keepdim=True) * axis
    first = first / first.square().sum(-1, keepdim=True).sqrt()
    return first, torch.linalg.cross(axis, first)
