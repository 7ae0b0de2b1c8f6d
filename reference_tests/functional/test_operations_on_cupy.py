"""Every operation in the table on CuPy's arrays, kernels and all, held against torch exactly as on NumPy's.

Where there is a GPU this is CuPy itself; elsewhere its stand-in, whose kernels run on the CPU in guarded memory.
"""

import cupy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_tests.helpers.oracle import TABLE
from reference_tests.functional.test_operations_against_torch import compare


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_value_and_gradients_equal_torch_in_float64(name, data):
    compare(name, data, np.float64, relative=1e-12, put=cupy.asarray)


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_value_and_gradients_in_float32_err_by_no_more_than_their_roundings(name, data):
    compare(name, data, np.float32, relative=0.0, put=cupy.asarray)
