"""A plugin for pytest: which tests of a suite must fail, are not run or prove nothing, as `left-out.txt` has
it; and what old suites miss in a Python of today.
"""

import os
import sys
import types
import unittest

import pytest


def listed(variable):
    return [line for line in os.environ.get(variable, "").splitlines() if line]


def is_of(item, test):
    """Whether it is that test, or in that class or file."""
    return item.nodeid == test or item.nodeid.startswith((test + "::", test + "["))


def pytest_collection_modifyitems(items):
    marks = {
        "LEFT_OUT_FAIL": pytest.mark.xfail(reason="left out", strict=True),
        "LEFT_OUT_NOT_RUN": pytest.mark.skip(reason="left out"),
        "LEFT_OUT_PROVE_NOTHING": None,
    }
    for variable, mark in marks.items():
        for test in listed(variable):
            found = [item for item in items if is_of(item, test)]
            if not found:
                raise pytest.UsageError(f"left-out.txt names a test that is not there: {test}")
            if mark is None and len(found) != 1:
                raise pytest.UsageError(f"left-out.txt counts them one by one: {test}")
            for item in found:
                if mark is not None:
                    item.add_marker(mark)


# `nose` ended with Python 3.9; of it, suites want a decorator. What it marks is run here as well.
nose, tools = types.ModuleType("nose"), types.ModuleType("nose.tools")
tools.nottest = lambda test: test
nose.tools = tools
sys.modules["nose"], sys.modules["nose.tools"] = nose, tools

# The alias ended with Python 3.12.
if not hasattr(unittest.TestCase, "assertEquals"):
    unittest.TestCase.assertEquals = unittest.TestCase.assertEqual

# Each example is two runs of etcdctl, and the same fixture is meant to serve all.
try:
    import hypothesis
except ImportError:
    pass
else:
    hypothesis.settings.register_profile(
        "clients",
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("clients")
