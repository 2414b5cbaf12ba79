"""Force fields that come with the library: the paper's molecules, trained by ASTEROID on MD17's labels."""

from pathlib import Path
from typing import TYPE_CHECKING

from asteroid.domain import Domain
from asteroid.force_field import ForceField

if TYPE_CHECKING:
    from asteroid.md.calculator import ForceFieldCalculator
    from asteroid.runs import RunSpec, Store

FOLDER = Path(__file__).parent / "data" / "force_fields"

CITATIONS = (
    "Bukharin et al., Machine Learning Force Fields with Data Cost Aware Training, ICML 2023 (the method)",
    "Chmiela et al., Science Advances 3, e1603015 (2017), doi:10.1126/sciadv.1603015 (geometries, DFT labels)",
    "Chmiela et al., Nature Communications 9, 3887 (2018), doi:10.1038/s41467-018-06169-2 (coupled-cluster labels)",
)


def names() -> list[str]:
    """Molecules that have one, such as "md17:ethanol"."""
    return sorted(path.stem.replace("-", ":", 1) for path in FOLDER.glob("*.safetensors"))


def load(molecule: str) -> "ForceFieldCalculator":
    """An ASE calculator of a molecule, for atoms in the order of its dataset.

    Args:
        molecule: one of `names`.

    Returns:
        The calculator, which warns of geometries outside what was learned from. Its `force_field.provenance` says how
        it was made, with "valid_force_mae" and "test" (errors on frames that no training saw, kcal/mol and
        kcal/mol/Å) and the "citations" of the data.

    Raises:
        ValueError: if the molecule has none.

    Example:
        ``atoms.calc = asteroid.force_fields.load("md17:ethanol")``
    """
    if molecule not in names():
        known = ", ".join(names()) or "none"
        raise ValueError(f"no force field of {molecule!r} comes with asteroid; there are: {known}")
    return ForceField.load(_path(molecule)).calculator()


def pack(spec: "RunSpec", store: "Store") -> Path:
    """Make the force field of a run the one that comes with the library.

    Raises:
        ValueError: if the run has no record.
    """
    from asteroid import runs

    record = store.get(spec)
    if record is None:
        raise ValueError(f"{spec.file_name} has no record in {store.folder}; make the run first")
    trained, split = runs.force_field(spec, store), runs.split_of(spec)
    about, temperature = trained.provenance, split.train.provenance.get("temperature_K")
    domain = Domain.of(split.train.pos, temperature)
    if split.inaccurate is not None:
        domain = domain.joined(Domain.of(split.inaccurate.pos, temperature))
    trained.bias = None
    trained.provenance = {
        **{name: about[name] for name in ("molecule", "level", "versions")},
        "domain": domain.to_json(),
        "run": record.key,
        "settings": spec.settings,
        "valid_force_mae": record.valid_force_mae,
        "test": {**record.errors, "frames": spec.test},
        "date": record.date,
        "citations": list(CITATIONS),
    }
    path = _path(spec.molecule)
    path.parent.mkdir(exist_ok=True)
    trained.save(path)
    return path


def _path(molecule: str) -> Path:
    return FOLDER / f"{molecule.replace(':', '-')}.safetensors"
