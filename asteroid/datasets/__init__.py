"""Labelled frames of one molecule at one level of theory: what they are, read, written, checked and split."""

from asteroid.datasets.frames import SAME_GEOMETRY, LabelledSet
from asteroid.datasets.loading import DATA, is_here, levels, load, molecules, save, table
from asteroid.datasets.sources import DatasetError
from asteroid.datasets.splits import Split, split
