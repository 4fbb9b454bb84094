"""Running the project's JavaScript in node, beside the Python that it must agree with."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

NODE = shutil.which("node")
FLAGS = ("--single-threaded", "--liftoff-only")
"""Threads that compile may keep node from ending (nodejs/node#54918); to compile well takes longer than the tests."""

_AROUND = """
import { readFileSync } from "node:fs";
const given = JSON.parse(process.argv[1]);
const bytes = readFileSync(0);
const audio = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const edgeemo = await import(`${given.site}/edgeemo.js`);
const mel = await import(`${given.site}/mel.js`);
const work = async () => { %s };
try {
  console.log(JSON.stringify({ value: await work() }));
} catch (error) {
  if (!(error instanceof edgeemo.EdgeEmoError)) throw error;
  console.log(JSON.stringify({ refused: error.message }));
}
"""


class Refused(Exception):
    """The JavaScript threw an EdgeEmoError, with this message."""


def in_node(site: Path, code: str, audio: np.ndarray | None = None, **given: Any) -> Any:
    """What the body of an async function returns.

    Args:
        site: a folder that `edgeemo web` wrote.
        code: the body; it sees the modules `edgeemo` and `mel`, the samples `audio`, and `given`.
        audio: float32.
        given: what JSON can hold.

    Raises:
        Refused: it threw an EdgeEmoError.
    """
    assert NODE
    values = json.dumps({"site": str(site), **given}, default=str)
    samples = np.zeros(0, np.float32) if audio is None else np.ascontiguousarray(audio, np.float32)
    result = subprocess.run(
        [NODE, *FLAGS, "--input-type=module", "--eval", _AROUND % code, values],
        input=samples.tobytes(),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    answer = json.loads(result.stdout)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["value"]
