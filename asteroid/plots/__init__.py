"""One function per figure, in one style; each returns the matplotlib figure and changes no global state for good."""

from asteroid.plots.cost import (
    cost_ratios,
    error_against_cost,
    error_by_price,
    front,
    label_cost,
    measured_cost,
    ratios,
    total_cost,
)
from asteroid.plots.drawing import arrow_scale, checked_forces, molecule, plane
from asteroid.plots.dynamics import densities, largest_distances, step_sizes, survival
from asteroid.plots.errors import (
    budgets,
    by_training,
    claimed_reductions,
    geometries,
    levels,
    power_law,
    reductions,
    sensitivity,
)
from asteroid.plots.hover import with_values
from asteroid.plots.learning import (
    comparison,
    convergence,
    error_against_seconds,
    learning_curves,
    trajectory,
    true_bias,
)
from asteroid.plots.method import bias_histogram, toy_errors, weights_by_gamma
from asteroid.plots.planner import bias_and_error, cheap_levels, predicted_and_found, rounds, split_curve
from asteroid.plots.quality import frequencies, parity, where_the_error_sits
