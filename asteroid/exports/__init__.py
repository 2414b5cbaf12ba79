"""A force field in other programs than ASE: OpenMM, and whatever knows metatomic (LAMMPS, i-PI, GROMACS and others)."""

from asteroid.exports import metatomic, openmm
