"""Loops are compiled through numba's cache or without it, or not at all."""

import runpy

import numba
import pytest

from pnyx.primitives import compiled


def test_a_loop_that_the_cache_fails_is_compiled_without_it(monkeypatch) -> None:
    tried = []

    def compile_for(signature, **options):
        def decorate(function):
            tried.append(options)
            if options:
                raise PermissionError
            return function

        return decorate

    monkeypatch.setattr(numba, "njit", compile_for)
    assert compiled.compiled(numba.types.void)(len) is len
    assert tried == [{"cache": True}, {}]


def test_loops_that_would_not_be_compiled_are_not_offered(monkeypatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(ImportError, match="not to compile"):
        runpy.run_path(compiled.__file__)
