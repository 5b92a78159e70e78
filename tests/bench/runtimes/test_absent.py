from __future__ import annotations

import sys
from types import ModuleType

import pytest
from torch import nn

from bench.runtimes.absent import standing_in
from zoo.errors import InputError

IMPORTS = """
import nowhere
from nowhere import a_function
from nowhere.deep.inside import AClass, Kinds
from torch import nn

class Inherits(AClass, nn.Module):
    pass

@a_function
def decorated():
    return 1

@nowhere.register("a", kind=2)
class Registered:
    pass

def with_default(kind=Kinds.FIRST):
    return kind
"""


def imported() -> ModuleType:
    module = ModuleType("imports")
    with standing_in("nowhere", "nowhere.deep"):
        exec(IMPORTS, vars(module))
    return module


def test_names_are_imported_inherited_from_and_decorate() -> None:
    module = imported()
    assert issubclass(module.Inherits, nn.Module)
    assert module.decorated() == 1
    assert module.with_default() is not None


@pytest.mark.parametrize("name", ["a_function", "AClass", "Inherits"])
def test_use_says_what_is_missing_and_why(name: str) -> None:
    with pytest.raises(
        InputError, match=r"is needed here, and nowhere cannot be imported \(Module"
    ):
        getattr(imported(), name)()


def test_nothing_stays_behind() -> None:
    before, finders = set(sys.modules), list(sys.meta_path)
    imported()
    assert set(sys.modules) == before
    assert sys.meta_path == finders


def test_module_that_can_be_imported_stays_itself() -> None:
    with standing_in("json", "json.decoder"):
        import json
    assert json.loads("1") == 1
    assert sys.modules["json"] is json


def test_module_that_has_no_such_submodule_is_replaced_whole() -> None:
    with standing_in("json", "json.nothing"):
        from json.nothing import loads  # type: ignore[import-not-found]
    with pytest.raises(InputError, match=r"json\.nothing\.loads is needed here"):
        loads("1")
