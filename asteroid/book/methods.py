"""The paragraph on methods of a paper that uses a force field, from what its file and its labels say."""

from collections.abc import Mapping
from importlib.metadata import version

from asteroid import models, provenance
from asteroid.datasets import LabelledSet
from asteroid.force_field import ForceField
from asteroid.runs.methods import MODEL_NAMES

PAPER = "Bukharin et al., Machine Learning Force Fields with Data Cost Aware Training, ICML (2023)"
# What to cite, by the names that provenance has of methods, programs, models and optimisers.
CITATIONS = {
    "mmff": "MMFF94: Halgren, J. Comput. Chem. 17, 490 (1996)",
    "gfn2": "GFN2-xTB: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
    "pbe": "PBE: Perdew, Burke and Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)",
    "b3lyp": "B3LYP: Stephens et al., J. Phys. Chem. 98, 11623 (1994)",
    "mp2": "MP2: Møller and Plesset, Phys. Rev. 46, 618 (1934)",
    "ccsd": "CCSD: Purvis and Bartlett, J. Chem. Phys. 76, 1910 (1982)",
    "ccsd(t)": "CCSD(T): Raghavachari et al., Chem. Phys. Lett. 157, 479 (1989)",
    "psi4": "Psi4: Smith et al., J. Chem. Phys. 152, 184108 (2020)",
    "pyscf": "PySCF: Sun et al., J. Chem. Phys. 153, 024109 (2020)",
    "rdkit": "RDKit: Open-source cheminformatics, https://www.rdkit.org",
    "ase": "ASE: Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017)",
    "egnn": "EGNN: Satorras, Hoogeboom and Welling, ICML (2021)",
    "gemnet": "GemNet: Gasteiger, Becker and Günnemann, NeurIPS (2021)",
    "muon": "Muon: Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024)",
    "soap": "SOAP: Vyas et al., arXiv:2409.11321 (2024)",
    "adamw": "AdamW: Loshchilov and Hutter, ICLR (2019)",
    "torch": "PyTorch: Paszke et al., NeurIPS (2019)",
}


def methods_paragraph(
    force_field: ForceField,
    train: LabelledSet,
    test: LabelledSet,
    errors: Mapping[str, float],
    cheap: LabelledSet | None = None,
    valid: LabelledSet | None = None,
    dynamics: str | None = None,
) -> str:
    """How a force field was made and how good it is, ready to paste.

    Args:
        force_field: the trained one.
        train, test: accurate labels that it learned from and was tested on.
        errors: from `stages.test_errors` on `test`.
        cheap: cheap labels that it learned from before; None: it did not.
        valid: accurate labels that decided which weights to keep; None: there were none.
        dynamics: a sentence on the simulation; None: none.

    Returns:
        One paragraph, and one of what to cite. It says nothing of what the labels do not say, such as a program.

    Raises:
        KeyError: if `errors` lacks one of force_mae, force_mae_std_error and energy_mae.
    """
    name, config = models.describe(force_field.model)
    parameters = sum(weights.numel() for weights in force_field.model.parameters())
    trainings = _trainings(force_field.provenance)
    of_cheap = [] if cheap is None else [_labels(cheap, "pre-training")]
    bought = " and ".join([*of_cheap, _labels(train, "training")])
    parts = [f"{len(test)} for testing", *([] if valid is None else [f"{len(valid)} for validation"])]
    stages = ", ".join(
        f"{one['config']['steps']:,} steps on {one['labels']} labels ({what})" for what, one in trainings
    )
    settings = ", ".join(f"{key} {value}" for key, value in config.items() if value is not None)
    optimizer = force_field.provenance["config"]["optimizer"]
    how = "by ASTEROID" if cheap is not None else "by standard training"
    sentences = [
        _sampled(train),
        f"The labels are {bought}; a further {' and '.join(parts)} have labels of {_theory(train)} too.",
        f"The model is {MODEL_NAMES.get(name, name)} ({settings}) with {parameters:,} parameters, trained {how} "
        f"with the optimiser {optimizer}: {stages}; asteroid {version('asteroid')}, PyTorch "
        f"{force_field.provenance['versions']['torch']}.",
        f"On the {len(test)} test configurations the mean absolute error is {errors['force_mae']:.2f} ± "
        f"{errors['force_mae_std_error']:.2f} kcal/mol/Å for force components (standard error over configurations) and "
        f"{errors['energy_mae']:.2f} kcal/mol for energies.",
        *([] if dynamics is None else [dynamics]),
    ]
    return " ".join(filter(None, sentences)) + "\n\nTo cite: " + "; ".join(_cited(force_field, train, cheap)) + "."


def _sampled(labelled: LabelledSet) -> str:
    from ase import Atoms

    about, formula = labelled.provenance, Atoms(labelled.z.numpy()).get_chemical_formula()
    if "sampling" not in about:
        return ""
    level = f" under {about['sampling_level'].upper()}" if "sampling_level" in about else ""
    kelvin = f" at {about['temperature_K']:g} K" if "temperature_K" in about else ""
    return f"Configurations of {labelled.molecule} ({formula}) were sampled{kelvin}{level} ({about['sampling']})."


def _labels(labelled: LabelledSet, use: str) -> str:
    about = labelled.provenance
    code = " ".join(about[key] for key in ("code", "code_version") if about.get(key))
    return f"{len(labelled)} of {_theory(labelled)}{f' by {code}' if code else ''} for {use}"


def _theory(labelled: LabelledSet) -> str:
    return labelled.provenance.get("theory", labelled.level)


def _trainings(last: provenance.Provenance) -> list[tuple[str, provenance.Provenance]]:
    """The stages in the order in which they were trained, and what each is for."""
    first = last.get("bias_identification")
    chain = provenance.chain(last)
    names = ["training"] if len(chain) == 1 else [*["pre-training"] * (len(chain) - 1), "fine-tuning"]
    return [*([("identification of the bias", first)] if first else []), *zip(names, chain, strict=True)]


def _cited(force_field: ForceField, train: LabelledSet, cheap: LabelledSet | None) -> list[str]:
    """The method, the levels with their programs, the model, the optimiser and the libraries, each once."""
    names = []
    for labelled in (train, *([] if cheap is None else [cheap])):
        names += [*_methods(labelled.level), *labelled.provenance.get("code", "").lower().split(", ")]
    names += _methods(train.provenance.get("sampling_level", ""))
    names.append(models.describe(force_field.model)[0].partition("-")[0])
    names += [force_field.provenance["config"]["optimizer"], "adamw", "torch", "ase"]
    return [
        *([PAPER] if cheap is not None else []),
        *dict.fromkeys(CITATIONS[one] for one in names if one in CITATIONS),
    ]


def _methods(level: str) -> list[str]:
    """Those of a level, or of the levels that it is a sum of, without factors and basis sets."""
    return [word.rpartition("*")[2].partition("/")[0] for word in level.split()]
