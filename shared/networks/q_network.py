"""From a state, or a state and an action's embedding, to the features that the head regresses on, and a first estimate.

Shapes: N rows, S state, D embedding of an action, F features, K outputs: one an action, or one that all actions share.
"""

import math
from typing import Final, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from shared.registry.manifest import Architecture

# Of standardised rewards: a probability of one half until the network has learned better.
FIRST_VARIANCE: Final = 0.25
LOG_VARIANCE_RANGE: Final = (-10.0, 4.0)


class QValues(NamedTuple):
    """Features [N, F], each row of length one; mean and logarithm of the variance of standardised rewards [N, K]."""

    features: Tensor
    mean: Tensor
    log_variance: Tensor


class QNetwork(nn.Module):
    """A perceptron with a head for the mean, whose weights begin at zero, and one for the aleatoric variance."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        inputs = architecture.state_width + (architecture.embedding_width if architecture.action_features else 0)
        outputs = 1 if architecture.action_features else len(architecture.action_ids)
        self.body = nn.Sequential(
            nn.LayerNorm(inputs),
            nn.Linear(inputs, architecture.hidden_width),
            nn.ReLU(),
            nn.Linear(architecture.hidden_width, architecture.feature_width),
            nn.ReLU(),
        )
        self.mean = nn.Linear(architecture.feature_width, outputs)
        self.log_variance = nn.Linear(architecture.feature_width, outputs)
        for head in (self.mean, self.log_variance):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        nn.init.constant_(self.log_variance.bias, math.log(FIRST_VARIANCE))

    def forward(self, inputs: Tensor) -> QValues:
        """Of states [N, S], or of states with the actions' embeddings behind them [N, S + D]."""
        hidden_NF = self.body(inputs)
        features_NF = functional.normalize(hidden_NF - hidden_NF.mean(1, keepdim=True), dim=1, eps=1e-6)
        log_variance_NK = self.log_variance(features_NF).clamp(*LOG_VARIANCE_RANGE)
        return QValues(features_NF, self.mean(features_NF), log_variance_NK)
