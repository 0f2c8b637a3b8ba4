"""The peers of vector search, in the peers' environment: asked a line of JSON, answers one. Loads nothing of irer's.

`usearch` exact, `usearch` HNSW and `sqlite-vec`, all by the inner product of float32 vectors of length 1 on one core;
times are of the processor.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any


class Peers:
    def __init__(self, place: str, k: int) -> None:
        import numpy as np

        self.rows, self.k = np.load(place), k
        self._searchers: dict[str, Any] = {}

    def build(self, name: str) -> float:
        began = time.process_time()
        self._searchers[name] = getattr(self, name.replace("-", "_"))()
        return time.process_time() - began

    def ask(self, name: str, queries: Any) -> dict[str, Any]:
        found, times = [], []
        for query in queries:
            began = time.process_time()
            ids = self._searchers[name](query)
            times.append(time.process_time() - began)
            found.append([int(each) for each in ids])
        return {"found": found, "times": times}

    def usearch_exact(self) -> Any:
        from usearch.index import search  # type: ignore[import-not-found,unused-ignore]

        return lambda query: search(self.rows, query, self.k, metric="ip", exact=True, threads=1).keys

    def usearch_hnsw(self) -> Any:
        import numpy as np
        from usearch.index import Index

        index = Index(ndim=self.rows.shape[1], metric="ip", dtype="f32")
        index.add(np.arange(len(self.rows)), self.rows, threads=1)
        return lambda query: index.search(query, self.k, threads=1).keys

    def sqlite_vec(self) -> Any:
        import apsw
        import sqlite_vec  # type: ignore[import-not-found,unused-ignore]

        base = apsw.Connection(":memory:")  # the standard library's may be built without extensions
        base.enable_load_extension(True)
        base.load_extension(sqlite_vec.loadable_path())
        base.execute(f"CREATE VIRTUAL TABLE v USING vec0(e float[{self.rows.shape[1]}] distance_metric=cosine)")
        with base:
            base.executemany("INSERT INTO v(rowid, e) VALUES (?, ?)", ((at, row.tobytes()) for at, row in enumerate(self.rows)))
        ask = "SELECT rowid FROM v WHERE e MATCH ? AND k = ? ORDER BY distance"
        return lambda query: [row for (row,) in base.execute(ask, (query.tobytes(), self.k))]


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    import numpy as np

    peers: Peers | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "load":
                peers = Peers(asked["place"], asked["k"])
                said: dict[str, Any] = {"versions": {name: version(name) for name in ("usearch", "sqlite-vec")}}
            elif asked["do"] == "build":
                assert peers is not None
                said = {"build_s": peers.build(asked["name"])}
            else:
                assert peers is not None
                said = peers.ask(asked["name"], np.asarray(asked["queries"], np.float32))
        except Exception as error:  # a peer that is not there, or cannot do it, is a row without figures
            said = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


main()
