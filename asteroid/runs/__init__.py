"""A specification in, a record out: what a run is, how it is made, and many of them."""

from asteroid.runs.make import chosen_frames, force_field, label_cost, overview, run
from asteroid.runs.records import Record, Store
from asteroid.runs.spec import RunSpec, split_of
