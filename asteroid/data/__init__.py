"""Embedded labels: MOLECULE_LEVEL.npz in sGDML's layout, its record MOLECULE_LEVEL.json, and how they got here."""
