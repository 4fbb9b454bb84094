"""Architectures that others published: exact as a window and as a stream, late where they look ahead, or refused.

A window graph equals Keras; a stream equals Keras on the whole utterance, also beyond a window; a refusal names the
operator, the layer, and what to do.
"""

from __future__ import annotations

import re

import pytest

from support.architectures import DELAYED, REFUSED, bodies, outcome

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", bodies())
def test_exact_or_refused(name: str) -> None:
    found = outcome(name)
    assert found.window < 1e-5
    if name in REFUSED:
        assert found.stream is None
        assert found.refusal is not None
        assert re.search(f"^cannot stream {REFUSED[name][1]}", found.refusal), found.refusal
        return
    assert found.stream is not None
    assert found.stream < 1e-5
    assert found.range > 1e-3, "the answer depends on the audio"
    assert found.n_late == (DELAYED[name][1] if name in DELAYED else 0)
    if name in DELAYED:
        assert re.search("looks [0-9.]+ ms ahead; .*--delay$", str(found.refusal)), found.refusal
    else:
        assert found.refusal is None
