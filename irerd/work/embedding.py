"""Texts as vectors by one table of token vectors: the mean of those of a text's tokens, at length 1.

Table and tokenizer are files of the package `wordllama`, found beside it and read here: its own code is never run, so nothing is
downloaded and nothing heavy is imported. Both files are known by their digests, because the vectors of another table are another
model's. The same text gives the same bytes on every machine: numbers of 16 bits add up exactly, in whatever order.
"""

import json
import os
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.data.embedding import TABLE_MODEL, NoEmbedding, check_text, text_of, unit
from irerd.worker import JobFailed, Tell

PACKAGE = "wordllama"
TABLE = ("weights/l2_supercat_256.safetensors", "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5")
TOKENS = ("tokenizers/l2_supercat_tokenizer_config.json", "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68")
TENSOR = "embedding.weight"
BLOCK = 4_096
"""Token vectors that are added up together."""


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    texts: list[str]


def embed(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    if asked.model != TABLE_MODEL:
        raise JobFailed("bad-spec")
    table, tokenizer = _opened(_folder())
    vectors = []
    for done, text in enumerate(asked.texts):
        tell(done, len(asked.texts))
        vectors.append(_vector(text, table, tokenizer))
    return json.dumps({"vectors": vectors}).encode()


def _vector(text: str, table: Any, tokenizer: Any) -> str:
    """Nothing for a text that has no vector."""
    try:
        check_text(text)
        ids, times = np.unique(np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64), return_counts=True)
        sums = np.zeros(table.shape[1])
        for first in range(0, len(ids), BLOCK):
            sums += times[first : first + BLOCK].astype(np.float64) @ table[ids[first : first + BLOCK]].astype(np.float64)
        return text_of(unit(sums.tolist()))
    except NoEmbedding:
        return ""


def _folder() -> str:
    found = find_spec(PACKAGE)  # looks for the package and runs none of it
    if found is None or found.origin is None:
        raise JobFailed("not-installed")
    return str(Path(found.origin).parent)


@lru_cache(maxsize=1)
def _opened(folder: str) -> tuple[Any, Any]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer  # type: ignore[import-not-found,unused-ignore]

    return _table(_checked(folder, *TABLE)), Tokenizer.from_str(_checked(folder, *TOKENS).decode())


def _checked(folder: str, name: str, digest: str) -> bytes:
    try:
        raw = (Path(folder) / name).read_bytes()
    except OSError:
        raise JobFailed("other-files") from None
    if sha256(raw).hexdigest() != digest:
        raise JobFailed("other-files")
    return raw


def _table(raw: bytes) -> Any:
    """The one tensor of a safetensors file: its length in 8 bytes, what it holds as JSON, then the numbers."""
    start = 8 + int.from_bytes(raw[:8], "little")
    said = json.loads(raw[8:start])[TENSOR]
    first, end = said["data_offsets"]
    if said["dtype"] != "F16":
        raise JobFailed("other-files")
    return np.frombuffer(raw[start + first : start + end], "<f2").reshape(said["shape"])
