"""Take a defence out of the running code, for one test: a patched copy of a module's functions.

`tests/support/defences.py` names what is too slow for this, or is no function: there the whole
source is copied, and a test run in the copy.
"""

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType

import pytest


def weaken(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *changes: tuple[str, str]) -> None:
    """Let functions and methods of a module do what they would if its source said something else.

    changes: what is replaced, and by what; the first occurs once in the source. What a change
    touches outside a function has no effect.
    """
    source = inspect.getsource(module)
    text = source
    for old, new in changes:
        assert source.count(old) == 1, f"{source.count(old)} times in {module.__name__}: {old}"
        text = text.replace(old, new)
    wanted = dict(_codes(compile(text, str(module.__file__), "exec", dont_inherit=True)))
    changed = 0
    for function in _functions(module):
        code = wanted[function.__code__.co_qualname]
        if _does(code) != _does(function.__code__):
            monkeypatch.setattr(function, "__code__", code)
            changed += 1
    assert changed, "a defence that is in no function"


def _codes(module: CodeType) -> Iterator[tuple[str, CodeType]]:
    """Code objects inside another, by the qualified names of their functions and classes."""
    for constant in module.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _does(code: CodeType) -> tuple[object, ...]:
    """What tells the work of one code object from that of another, wherever it stands."""
    constants = tuple(
        _does(each) if isinstance(each, CodeType) else each for each in code.co_consts
    )
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Functions that a module defines, those of its classes among them."""
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            found = [each for each in map(_function, vars(value).values()) if each is not None]
        else:
            one = _function(value)
            found = [] if one is None else [one]
        for function in found:
            if function.__module__ == module.__name__ and "<" not in function.__qualname__:
                yield function


def _function(value: object) -> FunctionType | None:
    """The function behind a method, a property, or a function that is wrapped."""
    for name in ("fget", "func", "__func__"):
        value = getattr(value, name, value) if not isinstance(value, FunctionType) else value
    found = inspect.unwrap(value) if callable(value) else value
    return found if isinstance(found, FunctionType) else None


def succeeds(attack: Callable[..., object], *arguments: object) -> bool:
    """Whether a test of an attack fails: what it asserts or expects does not hold."""
    try:
        attack(*arguments)
    except (AssertionError, pytest.fail.Exception):
        return True
    return False
