"""Looking into a network: what its layers see, what passes between them, what moved a decision.

    watching            outputs and gradients of inner layers, and gradients added there
    receptive_field     which pixels each layer sees, from the tree of modules alone
    effective_field     how much each of them matters, by the gradient of one unit
    saliency, grad_cam, occlusion, maximize     what moved a decision, and what a filter looks for
    gradient_norms      how large the gradients are, by depth

Nothing here changes a network: layers keep nothing of a pass, and parameters' gradients stay as
they are.
"""

from minicnn.insight.attribution import (
    grad_cam,
    gradient_norms,
    maximize,
    occlusion,
    resize,
    saliency,
)
from minicnn.insight.effective_field import Gaussian, effective_field, fit_gaussian
from minicnn.insight.field import Field
from minicnn.insight.receptive_field import (
    Fields,
    Through,
    receptive_field,
    rule,
    side_by_side,
)
from minicnn.insight.watch import NotSeen, frozen, watching

__all__ = [
    "Field",
    "Fields",
    "Gaussian",
    "NotSeen",
    "Through",
    "effective_field",
    "fit_gaussian",
    "frozen",
    "grad_cam",
    "gradient_norms",
    "maximize",
    "occlusion",
    "receptive_field",
    "resize",
    "rule",
    "saliency",
    "side_by_side",
    "watching",
]
