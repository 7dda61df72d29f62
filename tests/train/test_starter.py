"""What training makes of a starter, and that both count the same neighbours."""

from pathlib import Path

import pytest

from jobs.ingest.starter import starter_id, write_starter
from recmesh.dataset import read
from recmesh.dataset.synthetic import synthetic
from recmesh.releases import ModelStore
from tests.train.conftest import inside

_NEIGHBOURS = """
import json
import numpy as np
from scipy import sparse
from jobs.ingest import neighbours as counted
from jobs.train.data import neighbours as trained
rng = np.random.default_rng(1)
users, items = 400, 60
dense = (rng.random((users, items)) < np.linspace(0.3, 0.0, items)).astype(np.float32)
same = trained.Shrinkage(cosine=counted.SHRINKAGE, ridge=1.0)
parameters = trained.NeighbourParameters(counted.LENGTH, dense_shrinkage=same, sparse_shrinkage=same)
expected = trained.cosine_lists(sparse.csr_matrix(dense), np.arange(items), parameters)
pairs = [column.astype(np.int32) for column in np.nonzero(dense)]
found = counted.cosine_lists(*pairs, users, items)
def by_item(lists):
    spans = zip(lists.start[:-1], lists.start[1:])
    return [sorted(zip(lists.items[a:b].tolist(), lists.scores[a:b].tolist())) for a, b in spans]
print(json.dumps([by_item(expected), by_item(found)]))
"""


def test_the_neighbours_are_the_cosine_lists_of_a_training() -> None:
    expected, found = inside(_NEIGHBOURS)
    assert sum(map(len, expected)) > 3_000
    assert [[item for item, _ in neighbours] for neighbours in found] == [
        [item for item, _ in neighbours] for neighbours in expected
    ]
    scores = [[score for neighbours in lists for _, score in neighbours] for lists in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


_GIVES_WAY = """
import json, sys
from pathlib import Path
from jobs.import_model.pipeline import import_models
from jobs.train.report.incumbent import Incumbent
from recmesh.errors import ReleaseError
from recmesh.progress import Reporter
from recmesh.releases import ModelStore
store, home = ModelStore(sys.argv[1]), Path(sys.argv[2])
incumbent = Incumbent.of(store, home / "active", None, None)
try:
    import_models(store, "", home, home, None, home, Reporter())
except ReleaseError as error:
    print(json.dumps([incumbent.facts(), str(error)]))
"""


def test_it_is_neither_the_incumbent_of_a_training_nor_the_base_of_an_import(tmp_path: Path) -> None:
    data, store = read(synthetic(tmp_path / "data", 100, 240)), ModelStore(str(tmp_path / "store"))
    folder = tmp_path / "starter"
    folder.mkdir()
    release = write_starter(data, starter_id(data), folder).id
    store.put(folder)
    store.activate(release, ())
    incumbent, refusal = inside(_GIVES_WAY, store.url, str(tmp_path / "home"))
    assert incumbent is None
    assert refusal == f"release {release} is a starter, which has no models: pass --base, or train first"
