"""What is left out stays available to whoever wants it later."""

import subprocess
import sys

import pytest

from kit.lean_import import absent, hollow


def test_an_absent_module_cannot_be_imported_inside_and_can_be_afterwards() -> None:
    told = _python(
        "from kit.lean_import import absent\n"
        "with absent('wave'):\n"
        "    try:\n"
        "        import wave\n"
        "    except ImportError:\n"
        "        print('none')\n"
        "import wave\n"
        "print(wave.open.__name__)\n"
    )
    assert told == ["none", "open"]


def test_a_hollow_module_is_empty_inside_and_whole_afterwards() -> None:
    told = _python(
        "import sys\n"
        "from kit.lean_import import hollow\n"
        "with hollow('wsgiref.simple_server'):\n"
        "    from wsgiref import simple_server\n"
        "    print(hasattr(simple_server, 'make_server'))\n"
        "import wsgiref.simple_server\n"
        "print(hasattr(sys.modules['wsgiref.simple_server'], 'make_server'))\n"
    )
    assert told == ["False", "True"]


def test_what_is_loaded_already_stays_as_it_is() -> None:
    for leave_out in (absent, hollow):
        with leave_out("pytest"):
            assert sys.modules["pytest"] is pytest
        assert sys.modules["pytest"] is pytest


def test_an_edge_loads_no_command_line_of_its_libraries() -> None:
    told = _python(
        "import sys\n"
        "import edge.app.run\n"
        "print(sorted(each for each in ('rich', 'typer', 'prompt_toolkit', 'pygments') if each in sys.modules))\n"
    )
    assert told == ["[]"]


def _python(text: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
