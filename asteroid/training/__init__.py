"""One visible training loop; losses, objectives, optimisers and forces, which it is made of."""

from asteroid.training.forces import predict
from asteroid.training.loop import History, State, TrainConfig, TrainingDiverged, as_list, fit
from asteroid.training.objectives import energy_shift, robust_mean
