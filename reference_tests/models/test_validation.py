"""Fields of a dataclass are checked against their annotations and ranges; a mistake is one line that names it."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.validation import NOT_NEGATIVE, POSITIVE, SHARE, Interval, check_fields

INTERVALS = {"count": POSITIVE, "sizes": POSITIVE, "rate": SHARE, "scale": NOT_NEGATIVE}


@dataclasses.dataclass(frozen=True)
class Record:
    """One field of each kind; one annotation is a string, as `from __future__ import annotations` makes all of them."""

    name: str = "a"
    flag: bool = False
    count: int = 1
    rate: float = 0.5
    scale: "float | None" = None
    sizes: tuple[int, ...] | None = (1, 2)
    kind: str | None = None

    def __post_init__(self):
        check_fields(self, INTERVALS, {"kind": (None, "x", "y")}, none="off")


@pytest.mark.parametrize("changes", [
    {}, {"name": ""}, {"flag": True}, {"count": 10**30}, {"rate": 0}, {"rate": 0.0}, {"scale": None}, {"scale": 7},
    {"sizes": None}, {"sizes": (1,)}, {"kind": "y"}], ids=str)
def test_fields_of_the_right_type_and_range_are_kept(changes):
    record = Record(**changes)
    assert all(getattr(record, name) is value for name, value in changes.items())


def test_a_list_becomes_a_tuple_as_json_has_none():
    assert Record(sizes=[3, 4]).sizes == (3, 4)


@pytest.mark.parametrize("changes, complaint", [
    ({"name": 3}, "Record: name=3: expected str"), ({"name": None}, "name=None: expected str"),
    ({"flag": 1}, "flag=1: expected bool"), ({"count": 1.0}, "count=1.0: expected int"),
    ({"count": True}, "count=True: expected int"), ({"rate": True}, "rate=True: expected float"),
    ({"rate": "0.5"}, "rate='0.5': expected float"), ({"rate": None}, "rate=None: expected float"),
    ({"count": 0}, "count=0: expected a whole number above 0"), ({"count": -3}, "a whole number above 0"),
    ({"rate": 1.0}, "rate=1.0: expected a number from 0 up to, not including, 1"), ({"rate": math.nan}, "rate=nan"),
    ({"scale": -0.5}, "scale=-0.5: expected a number from 0 up or off"), ({"scale": math.inf}, "scale=inf"),
    ({"sizes": ()}, "sizes=.*expected tuple of int or off"), ({"sizes": (1, 2.0)}, "expected tuple of int"),
    ({"sizes": [1, True]}, "expected tuple of int"), ({"sizes": 3}, "expected tuple of int"),
    ({"sizes": (1, 0)}, "expected whole numbers above 0 or off"), ({"sizes": (1, (2,))}, "expected tuple of int"),
    ({"kind": "z"}, "kind='z': expected off or x or y")], ids=str)
def test_a_wrong_field_is_one_line_that_names_it(changes, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        Record(**changes)
    assert "\n" not in str(error.value)


@given(st.floats(-5, 5), st.floats(0, 3), st.booleans(), st.booleans(), st.floats(allow_infinity=True))
def test_an_interval_is_its_ends_and_what_lies_between(least, length, with_least, with_greatest, value):
    interval = Interval(least, least + length, with_least, with_greatest)
    for number in (value, least, least + length, least + length / 2):
        inside = least <= number <= least + length and (with_least or number != least) \
            and (with_greatest or number != least + length)
        assert (number in interval) == inside


def test_no_interval_has_infinite_numbers():
    assert math.inf not in Interval(0.0, with_greatest=True) and math.nan not in NOT_NEGATIVE


@pytest.mark.parametrize("config", nf.models.CONFIGS)
def test_every_field_of_a_configuration_is_checked(config):
    """Whatever its annotation: no field takes an object, and no number is below 0 or not finite."""
    for field in dataclasses.fields(config):
        for wrong in (object(), -1, math.nan, (), (0,), ("1",), None):
            if wrong is not None or field.default is not None:
                with pytest.raises(InputError, match=f"{config.__name__}: {field.name}="):
                    config(**{field.name: wrong})


@pytest.mark.parametrize("config", nf.models.CONFIGS)
def test_a_configuration_comes_back_from_json(config):
    fields = {name: list(value) if isinstance(value, tuple) else value
              for name, value in dataclasses.asdict(config()).items()}
    assert config(**fields) == config()


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32])
def test_numbers_of_numpy_become_plain_numbers(kind):
    """The number of classes is often computed from labels, and a configuration is written as JSON."""
    config = nf.models.NFNetConfig(num_classes=kind(3), alpha=np.float32(0.25), depths=(kind(1),) * 4)
    assert (config.num_classes, config.alpha, config.depths) == (3, 0.25, (1, 1, 1, 1))
    assert {type(config.num_classes), *map(type, config.depths)} == {int} and type(config.alpha) is float
    with pytest.raises(InputError, match="num_classes"):
        nf.models.NFNetConfig(num_classes=np.float64(3.5))
