"""The ids of OPC UA as one text: the same answers as asyncua's module, and never in its place when unsure."""

import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge.bridges.opcua.object_ids import IdTable, Names, stand_in


def _source() -> Path:
    found = find_spec("asyncua")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("ua") / "object_ids.py"


def test_every_name_and_number_is_asyncuas_own() -> None:
    theirs = runpy.run_path(str(_source()))
    ours = stand_in(IdTable(_source().read_bytes().splitlines(keepends=True)))
    numbers = {name: value for name, value in vars(theirs["ObjectIds"]).items() if not name.startswith("_")}
    assert len(numbers) > 10_000
    some = dict(list(numbers.items())[::50] + list(numbers.items())[-1:])
    assert {name: getattr(ours.ObjectIds, name) for name in reversed(some)} == dict(reversed(some.items()))
    some_numbers = list(theirs["ObjectIdNames"])[::50]
    assert [ours.ObjectIdNames[each] for each in some_numbers] == [
        theirs["ObjectIdNames"][each] for each in some_numbers
    ]
    assert list(ours.ObjectIdNames) == list(theirs["ObjectIdNames"])
    assert len(ours.ObjectIdNames) == len(theirs["ObjectIdNames"])


def test_what_there_is_not_is_refused_as_asyncua_refuses_it() -> None:
    ours = stand_in(IdTable(_source().read_bytes().splitlines(keepends=True)))
    for name in ("Rootfolder", "RootFolde", "ootFolder", "RootFolder=84", "", "Größe"):
        assert not hasattr(ours.ObjectIds, name)
    for number in (-1, 8, 10**9, "84", None, 84.0):
        assert (number in ours.ObjectIdNames) == (number == 8)
    with pytest.raises(KeyError):
        ours.ObjectIdNames[10**9]


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"class ObjectIds:\n    Null = 0\n\nObjectIdNames = {}\nObjectIdNames[0] = 'Nil'\n",
        b"class ObjectIds:\n    Null = 0\n    Sum = 1 + 1\n\nObjectIdNames = {}\nObjectIdNames[0] = 'Null'\n",
        b"import enum\nclass ObjectIds:\n    Null = 0\n",
    ],
)
def test_a_module_of_another_shape_is_left_alone(source: bytes) -> None:
    with pytest.raises(ValueError, match="not written as it was"):
        IdTable(source.splitlines(keepends=True))


def test_an_edge_has_it_before_asyncua_comes() -> None:
    """In a process of its own: here asyncua is loaded already."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "from edge.bridges.opcua import object_ids; print(object_ids.install(), object_ids.install())\n"
            "from asyncua import ua; import asyncua.client.client\n"
            "print(type(ua.ObjectIdNames).__name__, ua.ObjectIds.RootFolder, ua.ObjectIds.Server)",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stdout.split("\n")[:2] == ["True True", f"{Names.__name__} 84 2253"]
