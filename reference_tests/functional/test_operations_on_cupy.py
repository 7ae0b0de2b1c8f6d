"""Every operation in the table on CuPy's arrays, kernels and all, compared with torch exactly as NumPy's are.

Where there is a GPU this is CuPy itself; elsewhere its stand-in, whose kernels run on the CPU in guarded memory.
"""

import cupy
import pytest
from hypothesis import given, strategies as st

from reference_tests.functional.test_operations_against_torch import compare
from reference_tests.helpers.oracle import TABLE


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_values_and_gradients_equal_torch(name, data):
    compare(name, data.draw(TABLE[name].problems), put=cupy.asarray)
