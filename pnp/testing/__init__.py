"""Examine a class of your own as ours are: `check_operator`, `check_prior`, `check_noise`, `check_solver`, `dot_test`.

    from pnp.testing import check_operator

    def test_my_operator():
        check_operator(Mine(size=3), (1, 24, 24))

What fails is one AssertionError, which says what was expected, what came, and what to look at.
"""

from ..operators.base import dot_test
from .noises import check_noise
from .operators import check_operator
from .priors import check_prior
from .solvers import check_solver

__all__ = ["check_noise", "check_operator", "check_prior", "check_solver", "dot_test"]
