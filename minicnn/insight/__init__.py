"""Looking into a network: what its layers see, what passes between them, what caused a decision.

    watching            outputs and gradients of inner layers, and gradients added there
    receptive_field     which pixels each layer sees, computed from the tree of modules
    effective_field     how much each of these pixels matters, by the gradient of one unit
    saliency, grad_cam, occlusion, maximize     what caused a decision, what a filter looks for
    gradient_norms      how large the gradients are, layer by layer

Nothing here changes a network. Layers store nothing of a pass, and the gradients of parameters stay
unchanged.
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
