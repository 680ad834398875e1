"""Singular values and spectral radii: NumPy's, and a matrix that cannot be done costs only itself."""

import numpy as np
import pytest
import torch

from rnnlab.probes.spectrum import singular_values, spectral_radius

MATRICES = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_they_are_numpys():
    np.testing.assert_allclose(singular_values(MATRICES), np.linalg.svd(MATRICES.numpy(), compute_uv=False))
    np.testing.assert_allclose(spectral_radius(MATRICES), np.abs(np.linalg.eigvals(MATRICES.numpy())).max(-1))


@pytest.mark.parametrize(("measure", "library"), [(singular_values, "svdvals"), (spectral_radius, "eigvals")])
@pytest.mark.parametrize("broken", [np.nan, np.inf, 7.0])
def test_one_that_cannot_be_done_is_nan_alone(monkeypatch, measure, library, broken):
    """7 stands for a matrix whose iteration does not converge: the library then raises for the whole batch."""
    whole, real = measure(MATRICES), getattr(torch.linalg, library)

    def refuse(matrix):
        if (matrix == 7.0).any():
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return real(matrix)

    monkeypatch.setattr(torch.linalg, library, refuse)
    given = MATRICES.clone()
    given[1, 2, 0, 0] = broken
    found = measure(given)
    assert found[1, 2].isnan().all()
    found[1, 2] = whole[1, 2]
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)
