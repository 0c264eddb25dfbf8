import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from shared.functional.projection import fit_pca, pca_transform


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator) * torch.arange(1.0, d + 1) + 100.0


def test_fit_by_hand() -> None:
    pca = fit_pca(torch.tensor([[0.0, 0.0], [-3.0, -4.0], [3.0, 4.0]]), 1)
    assert pca.mean.tolist() == [0.0, 0.0]
    torch.testing.assert_close(pca.components, torch.tensor([[0.6], [0.8]]))
    torch.testing.assert_close(pca.explained_variance, torch.tensor([25.0]))
    torch.testing.assert_close(pca_transform(torch.tensor([[6.0, 8.0]]), pca), torch.tensor([[10.0]]))


@pytest.mark.parametrize(("n", "d", "k"), [(200, 12, 5), (8, 30, 7), (5, 5, 5)])
def test_fit_is_that_of_scikit_learn_up_to_sign(n: int, d: int, k: int) -> None:
    x = rows(n, d)
    ours, theirs = fit_pca(x, k), PCA(k, svd_solver="full").fit(x.double().numpy())
    signs = np.sign((ours.components.numpy().T * theirs.components_).sum(1))
    if k < n:  # the last of n components of n rows has no variance and any direction
        np.testing.assert_allclose(ours.components.numpy().T * signs[:, None], theirs.components_, atol=1e-5)
        np.testing.assert_allclose(
            pca_transform(x, ours).numpy() * signs, theirs.transform(x.double().numpy()), atol=1e-3
        )
    np.testing.assert_allclose(ours.explained_variance, theirs.explained_variance_, rtol=1e-5, atol=1e-9)


def test_projections_are_uncorrelated_and_lose_nothing() -> None:
    x = rows(100, 6).double()
    z = pca_transform(x, fit_pca(x, 6))
    covariance = torch.cov(z.T)
    torch.testing.assert_close(covariance, torch.diag(fit_pca(x, 6).explained_variance))
    torch.testing.assert_close(z.norm(dim=1), (x - x.mean(0)).norm(dim=1))


@given(st.integers(0, 1000), st.permutations(range(20)))
def test_the_order_of_rows_does_not_matter_and_the_sign_is_fixed(seed: int, order: list[int]) -> None:
    x = rows(20, 4, seed)
    ours = fit_pca(x, 3)
    torch.testing.assert_close(fit_pca(x[order], 3).components, ours.components, atol=1e-5, rtol=1e-5)
    largest = ours.components.gather(0, ours.components.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())
    torch.testing.assert_close(ours.components.T @ ours.components, torch.eye(3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("components", [0, 4, -1])
def test_components_out_of_range_are_an_error(components: int) -> None:
    with pytest.raises(ValueError, match="min"):
        fit_pca(torch.ones(5, 3), components)


def test_constant_rows_have_no_variance_and_no_nan() -> None:
    pca = fit_pca(torch.ones(1, 3), 1)
    assert pca.explained_variance.tolist() == [0.0]
    assert bool(pca.components.isfinite().all())
