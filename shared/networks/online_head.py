"""The online head: Bayesian linear regression of standardised rewards on the Q-network's features, from sums alone.

With weights w, features φ (the Q-network's, and a constant) and rewards r of the experiences of a slot,
    Λ = λ I + Σ w φ φᵀ,  m = Λ⁻¹ (λ m_0 + Σ w r φ),  Q = mᵀ φ,  its variance = σ² φᵀ Λ⁻¹ φ,
where m_0 is the Q-network's output layer and the noise σ² is estimated over all slots: the conjugate normal and inverse
gamma prior (Bishop 2006, Pattern Recognition and Machine Learning, section 3.3 and exercise 3.12). Weights are
relative: the posterior brings their mean to one. Where the head forgets, an experience also counts half for every
half-life by which its decision is older than the newest. Sums commute, so replicas that have seen the same experiences
agree. All of it is float64.

Shapes: N rows, K slots (one an action, or one that all actions share), F features with the constant.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

PRECISION: Final = 1.0
# The prior of σ²: as if so many experiences had shown this variance of standardised rewards.
PRIOR_VARIANCE: Final = 0.1
PRIOR_COUNT: Final = 4.0
# Outer products held at a time.
ROWS: Final = 256
# Half-lives after which nothing is left in float64.
FORGOTTEN: Final = 2000


@dataclass(frozen=True, slots=True)
class HeadStatistics:
    """All that the head keeps of its experiences: outer [K, F, F], moment [K, F], square [K] and count [K].

    Times are microseconds, int64 []. With a half-life h, sums are kept as of newest_at, rounded up to a whole multiple
    of h: they fade by whole powers of two, which round nothing, and are the same to the bit whenever they faded.
    """

    outer: Tensor  # Σ w φ φᵀ; its last entry, of the constant, is Σ w
    moment: Tensor  # Σ w r φ
    square: Tensor  # Σ w r²
    count: Tensor
    newest_at: Tensor  # of the decisions; 0 where nothing is forgotten
    half_life: Tensor  # 0: forgets nothing

    @classmethod
    def empty(cls, slots: int, features: int, half_life: int = 0) -> Self:
        """Of no experience; `features` without the constant, `half_life` in microseconds, 0 to forget nothing."""
        width = features + 1
        shapes = ((width, width), (width,), (), ())
        outer, moment, square, count = (torch.zeros(slots, *shape, dtype=torch.float64) for shape in shapes)
        return cls(outer, moment, square, count, torch.tensor(0), torch.tensor(half_life))

    def add(
        self, features: Tensor, slots: Tensor, rewards: Tensor, weights: Tensor, decided_at: Tensor | None = None
    ) -> Self:
        """With more experiences: features [N, F - 1], slots int64 [N], standardised rewards [N] and weights [N].

        `decided_at` int64 [N] in microseconds may be left out where nothing is forgotten.
        """
        before, share_N = self._faded(len(rewards), decided_at)
        phi_NF, rewards_N, weights_N = with_constant(features), rewards.double(), weights.double() * share_N
        weighted_NF = weights_N[:, None] * phi_NF
        outer = before.outer.clone()
        # The products of all rows at once would take as many matrices. In this order the sums are the same to the bit,
        # however the rows come in.
        for start in range(0, len(phi_NF), ROWS):
            rows = slice(start, start + ROWS)
            outer.index_add_(0, slots[rows], weighted_NF[rows, :, None] * phi_NF[rows, None, :])
        return replace(
            before,
            outer=outer,
            moment=before.moment.index_add(0, slots, weighted_NF * rewards_N[:, None]),
            square=before.square.index_add(0, slots, weights_N * rewards_N**2),
            count=before.count.index_add(0, slots, share_N),
        )

    def correct(
        self,
        features: Tensor,
        slots: Tensor,
        rewards: Tensor,
        previous: Tensor,
        weights: Tensor,
        decided_at: Tensor | None = None,
    ) -> Self:
        """With other rewards of experiences that it holds, in place of the previous ones: outer and count stay."""
        before, share_N = self._faded(len(rewards), decided_at)
        weighted_N, rewards_N, previous_N = weights.double() * share_N, rewards.double(), previous.double()
        change_N = weighted_N * (rewards_N - previous_N)
        return replace(
            before,
            moment=before.moment.index_add(0, slots, change_N[:, None] * with_constant(features)),
            square=before.square.index_add(0, slots, change_N * (rewards_N + previous_N)),
        )

    def _faded(self, count: int, decided_at: Tensor | None) -> tuple[Self, Tensor]:
        """These sums as of the newest decision, those of the rows included, and what each row counts then, [N]."""
        half_life = int(self.half_life)
        if not half_life or not count:
            return self, torch.ones(count, dtype=torch.float64)
        if decided_at is None:
            raise ValueError("a head that forgets must know when each decision was made")
        newest = max(int(self.newest_at), int(decided_at.max()))
        epoch = _rounded_up(newest, half_life)
        passed = epoch - _rounded_up(int(self.newest_at), half_life)
        age_N = (epoch - decided_at // half_life).clamp(max=FORGOTTEN)
        share_N = np.ldexp(np.exp2((decided_at % half_life).numpy() / half_life), -age_N.int().numpy())
        kept = math.ldexp(1.0, -passed)
        sums = {name: kept * getattr(self, name) for name in ("outer", "moment", "square", "count")}
        return replace(self, **sums, newest_at=torch.tensor(newest)), torch.from_numpy(share_N)

    def as_of_newest(self) -> Self:
        """With the newest decision counting one, and a mean weight of one: what a belief rests on."""
        scale, half_life = 1.0, int(self.half_life)
        if half_life:
            scale = 2.0 ** (-int(self.newest_at) % half_life / half_life)
        count = scale * self.count
        total = float(self.outer[:, -1, -1].sum())
        relative = float(count.sum()) / total if total > 0 else 1.0
        return replace(
            self,
            outer=relative * self.outer,
            moment=relative * self.moment,
            square=relative * self.square,
            count=count,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Name to tensor, for a file of weights."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        return cls(**tensors)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the head believes: mean [K + 1, F], whitening [K + 1, F, F] with Λ⁻¹ = WᵀW, and the noise σ².

    The last slot is the prior that stands for actions without a slot: the mean of the others' prior means.
    """

    mean: Tensor
    whitening: Tensor
    noise_variance: Tensor

    def scores(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Q and its epistemic variance under each slot, [N, K + 1] each, for features [N, F - 1]."""
        phi_NF, whitening_HF = features.double(), self.whitening.flatten(0, 1)
        # The last column belongs to the constant.
        white_NH = torch.addmm(whitening_HF[:, -1], phi_NF, whitening_HF[:, :-1].mT)
        length_NK = torch.linalg.vector_norm(white_NH.view(len(phi_NF), *self.whitening.shape[:2]), dim=-1)
        mean_NK = torch.addmm(self.mean[:, -1], phi_NF, self.mean[:, :-1].mT)
        return mean_NK, self.noise_variance * length_NK.square()

    def to(self, device: torch.device) -> Self:
        """This, on a device."""
        return type(self)(self.mean.to(device), self.whitening.to(device), self.noise_variance.to(device))

    def of_all(self) -> Self:
        """Where all actions share one slot: without the prior beside it, which stands for none."""
        return replace(self, mean=self.mean[:1], whitening=self.whitening[:1])


def posterior(statistics: HeadStatistics, prior_mean_KF: Tensor, precision: float = PRECISION) -> Posterior:
    """The belief after the experiences of the statistics; `precision` is λ."""
    statistics = statistics.as_of_newest()
    identity_FF = torch.eye(prior_mean_KF.shape[1], dtype=torch.float64)
    cholesky_KFF = torch.linalg.cholesky(statistics.outer + precision * identity_FF)
    target_KF = precision * prior_mean_KF + statistics.moment
    mean_KF = torch.cholesky_solve(target_KF[..., None], cholesky_KFF)[..., 0]
    prior_square_K = precision * prior_mean_KF.square().sum(1)
    residual_K = (statistics.square + prior_square_K - (target_KF * mean_KF).sum(1)).clamp(min=0.0)
    return Posterior(
        torch.cat([mean_KF, prior_mean_KF.mean(0, keepdim=True)]),
        torch.cat(
            [
                torch.linalg.solve_triangular(cholesky_KFF, identity_FF.expand_as(cholesky_KFF), upper=False),
                identity_FF[None] / precision**0.5,
            ]
        ),
        (PRIOR_COUNT * PRIOR_VARIANCE + residual_K.sum()) / (PRIOR_COUNT + statistics.count.sum()),
    )


def with_constant(features: Tensor) -> Tensor:
    """[N, F], float64: the features and a constant one."""
    return torch.cat([features.double(), features.new_ones(len(features), 1, dtype=torch.float64)], dim=1)


def _rounded_up(time: int, half_life: int) -> int:
    """In half-lives."""
    return -(-time // half_life)
