"""From a state, or a state and an action's embedding, to the features that the head regresses on, and a first estimate.

Shapes: N rows, S state, E encoded action, F features, K outputs: one an action, or one that all actions share.
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.views import interactions
from shared.registry.manifest import INTERACTIONS, Architecture

# Of standardised rewards: a probability of one half until the network has learned better.
FIRST_VARIANCE: Final = 0.25
LOG_VARIANCE_RANGE: Final = (-10.0, 4.0)
# How much more or less than an experience of FIRST_VARIANCE one counts in the head at most: what a network has learned
# by heart looks certain to it, and would outweigh all that is new.
MOST_WEIGHT: Final = 2.0


class QValues(NamedTuple):
    """Features [N, F] of the head; mean and logarithm of the variance of standardised rewards [N, K].

    The first of the features are the last hidden layer's, of length one; what follows, no network has to learn: the
    views of the context, or where all actions share an output, their interactions with the action's.
    """

    features: Tensor
    mean: Tensor
    log_variance: Tensor
    # [N, K], whose softmax is the policy, where the architecture has them.
    policy_logits: Tensor | None = None

    def on_cpu(self) -> "QValues":
        """These, on the CPU."""
        logits = None if self.policy_logits is None else self.policy_logits.cpu()
        return QValues(self.features.cpu(), self.mean.cpu(), self.log_variance.cpu(), logits)


class QNetwork(nn.Module):
    """A perceptron with a linear head for the mean and one for the aleatoric variance.

    It estimates zero until it has been trained. The weights of the mean begin at random all the same: from zero, their
    first gradients are all alike, and the layers below learn little but what the most common input shows.
    """

    trained: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        inputs = architecture.state_width + (architecture.embedding_width if architecture.action_features else 0)
        outputs = 1 if architecture.action_features else len(architecture.action_ids)
        self.body = nn.Sequential(
            nn.LayerNorm(inputs),
            nn.Linear(inputs, architecture.hidden_width),
            nn.ReLU(),
            nn.Linear(architecture.hidden_width, architecture.feature_width),
        )
        self.mean = nn.Linear(architecture.feature_width, outputs)
        self.log_variance = nn.Linear(architecture.feature_width, outputs)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, math.log(FIRST_VARIANCE))
        self.policy = nn.Linear(architecture.feature_width, outputs) if architecture.policy_logits else None
        if self.policy is not None:
            # Even until it has learned.
            nn.init.zeros_(self.policy.weight)
            nn.init.zeros_(self.policy.bias)
        self.register_buffer("trained", torch.tensor(False))
        self._architecture = architecture
        self._scale = math.sqrt(architecture.feature_width)

    def forward(self, inputs: Tensor) -> QValues:
        """Of states [N, S], or of states with the encoded actions behind them [N, S + E]."""
        if self.training:
            self.trained.fill_(True)
        state_NS, action_NE = inputs.tensor_split([self._architecture.state_width], dim=1)
        embedded_ND, action_view_NV = action_NE.tensor_split([self._architecture.embedding_width], dim=1)
        hidden_NF = self.body(torch.cat([state_NS, embedded_ND], dim=1))
        learned_NF = functional.normalize(hidden_NF - hidden_NF.mean(1, keepdim=True), dim=1, eps=1e-6)
        scaled_NF = self._scale * learned_NF
        given_NV = state_NS[:, self._architecture.fused_width :]
        if self._architecture.action_features:
            given_NV = interactions(given_NV, action_view_NV, INTERACTIONS)
        log_variance_NK = self.log_variance(scaled_NF).clamp(*LOG_VARIANCE_RANGE)
        features_NF = torch.cat([learned_NF, given_NV], dim=1)
        logits_NK = None if self.policy is None else self.policy(scaled_NF)
        return QValues(features_NF, self.mean(scaled_NF) * self.trained, log_variance_NK, logits_NK)

    def weights(self, log_variance_NK: Tensor, slots_N: Tensor) -> Tensor:
        """What experiences of these slots count in the head, [N]: the inverse of the noise that equation 15 expects.

        It is relative to that of FIRST_VARIANCE, so that all count one until the network has been trained, and bounded:
        one that has learned its experiences by heart sees less noise in them than there is.
        """
        log_variance_N = log_variance_NK.gather(1, slots_N[:, None])[:, 0].double()
        return (FIRST_VARIANCE / log_variance_N.exp()).clamp(1 / MOST_WEIGHT, MOST_WEIGHT)

    def prior_mean(self) -> Tensor:
        """[K, F + 1], float64: weights of the mean on the features, none on what is given, and behind them its bias."""
        weights_KF = self._scale * self.mean.weight
        given_KV = weights_KF.new_zeros(len(weights_KF), self._architecture.head_width - weights_KF.shape[1])
        prior_KF = torch.cat([weights_KF, given_KV, self.mean.bias[:, None]], dim=1)
        return (prior_KF * self.trained).detach().double()
