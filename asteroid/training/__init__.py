"""One visible training loop; losses, objectives, optimisers and forces, which it is made of."""

from asteroid.training.loop import (
    History,
    State,
    TrainConfig,
    TrainingDiverged,
    as_list,
    energy_shift,
    fit,
    predict,
    robust_mean,
)
