"""Hartree-Fock, density functionals and correlated wave functions, by Psi4 or by PySCF.

Both codes get the same task: a closed shell, one thread, no symmetry, spherical basis functions, frozen core in
correlated methods, the same grid for functionals but for the points that PySCF prunes; forces take its weights as
constant. They differ in one thing: Psi4 fits densities in all methods, PySCF in Hartree-Fock and functionals only,
since it has no gradients of fitted MP2 and CCSD(T).
"""

import io
import json
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError

from asteroid import machine
from asteroid.levels import guard, psi4_server
from asteroid.levels.molecules import BOHR, HARTREE, MachineError, MoleculeCalculator

if TYPE_CHECKING:
    from pyscf import gto

FUNCTIONALS = ("pbe", "b3lyp")
CORRELATED = ("mp2", "ccsd", "ccsd(t)")
METHODS = ("hf", *FUNCTIONALS, *CORRELATED)

# Forces within 0.13 kcal/mol/Å of those with (75, 302), in half the time.
_GRID = (50, 194)

# Frames after which the program psi4 is started anew: it keeps some 4 MB of each functional's, for ever.
_PSI4_FRAMES = 200

# Exit statuses of programs that crash by themselves.
_CRASHES = [128 + number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)]


class AbInitio(MoleculeCalculator):
    """`MoleculeCalculator` of a wave function or a density.

    Args:
        method: one of `METHODS`.
        charge: as there.
        basis: name of a basis set that the code knows.
        grid: radial and angular points around each atom, for functionals only; None: (50, 194).
        memory_gb: memory that the code may take.

    Raises:
        ValueError: a grid for a method that has none.
    """

    code: ClassVar[str]

    def __init__(
        self,
        method: str,
        charge: int | None = None,
        basis: str = "cc-pvdz",
        grid: tuple[int, int] | None = None,
        memory_gb: float = 3.0,
    ):
        super().__init__(charge)
        if grid is not None and method not in FUNCTIONALS:
            raise ValueError(f"{method} has no grid; only {' and '.join(FUNCTIONALS)} have one")
        self.method, self.basis, self.memory_gb = method, basis, memory_gb
        self.grid = grid or _GRID

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        energy, gradient = self._energy_and_gradient(charge)
        return energy * HARTREE, -gradient * (HARTREE / BOHR)

    def _energy_and_gradient(self, charge: int) -> tuple[float, np.ndarray]:
        """Energy in hartree and its gradient (atoms, 3) in hartree/bohr."""
        raise NotImplementedError

    def _failure(self, what: str) -> CalculationFailed:
        return CalculationFailed(f"{self.method}/{self.basis} of {self.atoms.symbols} by {self.code}: {what}.")

    def _no_basis(self) -> CalculatorSetupError:
        return CalculatorSetupError(
            f"{self.code} has no basis {self.basis!r}, or it lacks an element of {self.atoms.symbols}; take another, "
            "such as def2-svp (H to Rn)."
        )


class PySCF(AbInitio):
    """`AbInitio` by the package pyscf."""

    code = "pyscf"
    _modules: ClassVar[tuple[str, ...]] = ("pyscf.lib",)
    _programs: ClassVar[tuple[str, ...]] = ("_scratch",)
    _scratch: guard.Guarded | None = None

    def _energy_and_gradient(self, charge: int) -> tuple[float, np.ndarray]:
        from pyscf import gto, lib
        from pyscf.lib.exceptions import BasisNotFoundError

        def core(symbol: str) -> list:
            try:
                return gto.basis.load_ecp(self.basis, symbol)
            except (BasisNotFoundError, RuntimeError, KeyError):  # by PySCF's version
                return []

        if self._scratch is None or not os.path.isdir(self._scratch.folder):  # cleaned meanwhile
            self._scratch = guard.Guarded("asteroid-pyscf-", lib.param.TMPDIR)
        with warnings.catch_warnings(), _scratch_of_pyscf(self._scratch.folder):
            warnings.simplefilter("ignore", UserWarning)  # advice to install a package with more basis sets
            try:
                molecule = gto.M(
                    atom=list(zip(self.atoms.symbols, self.atoms.positions)),
                    basis=self.basis,
                    ecp={symbol: found for symbol in set(self.atoms.symbols) if (found := core(symbol))},
                    charge=charge,
                    max_memory=1000 * self.memory_gb,
                    verbose=0,
                )
            except BasisNotFoundError:
                raise self._no_basis() from None
            compute = self._correlated if self.method in CORRELATED else self._self_consistent
            try:
                with redirect_stdout(io.StringIO()):  # more such advice
                    return compute(molecule)
            except BasisNotFoundError:  # that which fits densities
                raise self._no_basis() from None
            except (CalculationFailed, OSError, MemoryError):
                raise
            except Exception as error:
                # Whatever fails fails for this frame only.
                raise self._failure(f"{type(error).__name__}: {error}") from None

    def _self_consistent(self, molecule: "gto.Mole") -> tuple[float, np.ndarray]:
        from pyscf import dft, scf

        if self.method in FUNCTIONALS:
            field = dft.RKS(molecule, xc=self.method)
            field.grids.atom_grid = self.grid
        else:
            field = scf.RHF(molecule)
        field = field.density_fit()
        energy = field.kernel()
        self._check(field.converged, "the self-consistent field")
        return energy, field.nuc_grad_method().kernel()

    def _correlated(self, molecule: "gto.Mole") -> tuple[float, np.ndarray]:
        from pyscf import cc, mp, scf
        from pyscf.cc import ccsd_t_lambda_slow
        from pyscf.grad import ccsd_t

        field = scf.RHF(molecule)
        field.conv_tol = 1e-10  # what the default leaves would show in the forces
        field.kernel()
        self._check(field.converged, "the self-consistent field")
        frozen = core_orbitals(molecule)
        if self.method == "mp2":
            perturbed = mp.MP2(field, frozen=frozen)
            perturbed.kernel()
            return perturbed.e_tot, perturbed.nuc_grad_method().kernel()
        clusters = cc.CCSD(field, frozen=frozen)
        clusters.kernel()
        self._check(clusters.converged, "the coupled-cluster equations")
        if self.method == "ccsd":
            clusters.solve_lambda()
            self._check(clusters.converged_lambda, "the lambda equations")
            return clusters.e_tot, clusters.nuc_grad_method().kernel()
        integrals = clusters.ao2mo()
        energy = clusters.e_tot + clusters.ccsd_t(eris=integrals)
        t1, t2 = clusters.t1, clusters.t2
        # "Slow" is about its memory: for small molecules it takes a third of the other module's time.
        converged, l1, l2 = ccsd_t_lambda_slow.kernel(clusters, integrals, t1, t2, verbose=0)
        self._check(converged, "the lambda equations")
        return energy, ccsd_t.Gradients(clusters).kernel(t1, t2, l1, l2, eris=integrals)

    def _check(self, converged: bool, what: str) -> None:
        if not converged:
            raise self._failure(f"{what} did not converge")


@contextmanager
def _scratch_of_pyscf(folder: str) -> Iterator[None]:
    """PySCF's files in a folder that goes whatever ends this process."""
    from pyscf import lib

    before, lib.param.TMPDIR = lib.param.TMPDIR, folder
    try:
        yield
    finally:
        lib.param.TMPDIR = before


def core_orbitals(molecule: "gto.Mole") -> int:
    """Orbitals of the noble gas before each atom, as Psi4 freezes them, without those of a core potential."""
    replaced = np.array([molecule.atom_nelec_core(k) for k in range(molecule.natm)])
    nuclei = replaced + [molecule.atom_charge(k) for k in range(molecule.natm)]
    cores = np.array([0, 2, 10, 18, 36, 54])[np.searchsorted([2, 10, 18, 36, 54], nuclei)]
    return int(np.maximum(cores - replaced, 0).sum()) // 2


class Psi4(AbInitio):
    """`AbInitio` by the program psi4, which is started and then answers frame by frame.

    It need not be importable, so that Debian's, which belongs to the system's Python, serves a virtual environment. Its
    files, which coupled cluster reads and writes all the time, stand below `PSI_SCRATCH`, or else where Python has its
    temporary ones.
    """

    code = "psi4"
    _programs: ClassVar[tuple[str, ...]] = ("_running", "_frames")
    _running: guard.Guarded | None = None
    _frames = 0  # that the program was given

    def _energy_and_gradient(self, charge: int) -> tuple[float, np.ndarray]:
        if self._running is not None and self._frames >= _PSI4_FRAMES:
            self.close()
        if self._running is None:
            self._start()
        self._frames += 1
        lines = [
            f"{symbol} {x:.12f} {y:.12f} {z:.12f}"
            for symbol, (x, y, z) in zip(self.atoms.symbols, self.atoms.positions)
        ]
        try:
            self._send("\n".join([f"{charge} 1", *lines, "units angstrom", "symmetry c1", "noreorient", "nocom"]))
            answer = self._receive()
        except BaseException:  # after an interrupt, what it still answers would be taken for the next frame's label
            self.close()
            raise
        if "Basis" in answer.get("error", ""):
            raise self._no_basis()
        if "error" in answer:
            raise self._failure(f"{answer['error']}: {' '.join(answer['message'].split())[:200]}")
        if answer["core_potential"] and self.method in CORRELATED:
            raise CalculatorSetupError(
                f"psi4 leaves effective core potentials out of the forces of {self.method}; {self.basis} has one for "
                f"an element of {self.atoms.symbols}. Take code='pyscf', or a basis of all electrons."
            )
        return answer["energy"], np.array(answer["gradient"])

    def _start(self) -> None:
        command = ["psi4", "--skip-preprocessor", "--input", psi4_server.__file__, "--output", "psi4.out"]
        # Psi4 leaves files where it runs: they go with its scratch.
        self._running = guard.Guarded("asteroid-psi4-", machine.flag("PSI_SCRATCH"), [*command, "--nthread", "1"])
        self._send({"method": self.method, "memory": f"{self.memory_gb} GB", "options": self._options()})

    def _options(self) -> dict[str, Any]:
        options = {"basis": self.basis, "puream": True, "scf_type": "df"}
        options |= {"e_convergence": 1e-8, "d_convergence": 1e-8}
        if self.method in FUNCTIONALS:
            return options | {"dft_radial_points": self.grid[0], "dft_spherical_points": self.grid[1]}
        if self.method in CORRELATED:
            options |= {"freeze_core": True, "mp2_type": "df", "cc_type": "df", "qc_module": "occ"}
            # Faster than the default, which reads the integrals anew for each triple.
            options |= {"r_convergence": 1e-7, "triples_iabc_type": "incore"}
        return options

    def close(self) -> None:
        """End the program; the next frame starts it anew."""
        if self._running is not None:
            self._running.end()
        self._running, self._frames = None, 0

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError):  # it has ended, and what it printed is read where its answer is awaited
            print(json.dumps(message), file=self._running.process.stdin, flush=True)

    def _receive(self) -> dict[str, Any]:
        printed, process = [], self._running.process
        for line in process.stdout:
            if line.startswith(psi4_server.ANSWER):
                return json.loads(line.removeprefix(psi4_server.ANSWER))
            printed.append(line)
        status, first = process.wait(), self._frames == 1
        self.close()
        end = "".join(printed).strip()[-500:]
        failure = self._failure(f"the program ended without an answer (exit status {status}); it printed {end!r}")
        # A signal from outside, or a program that has never answered, is no frame's fault; a crash may be.
        if status not in _CRASHES and (first or not 0 <= status <= 128):
            raise MachineError.of(failure)
        raise failure
