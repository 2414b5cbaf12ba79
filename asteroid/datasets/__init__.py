"""Labelled frames of one molecule at one level of theory: what they are, read, written, checked and split."""

from asteroid.datasets.frames import LabelledSet
from asteroid.datasets.loading import DATA, is_here, levels, load, molecules, overview, save
from asteroid.datasets.sources import DatasetError
from asteroid.datasets.splits import Split, split
from asteroid.datasets.structure import SAME_GEOMETRY
