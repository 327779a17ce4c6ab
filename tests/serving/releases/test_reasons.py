"""A reason's sentence: the same one by one and in bulk, with what is typical; the largest come first, ties by name."""

from __future__ import annotations

import numpy as np

from serving.releases.reasons import ReasonTable, shortest

from ..conftest import SCHEMA, customer_ids, make_bundle, make_columns


def test_sentences_in_bulk_are_those_of_one() -> None:
    bundle, schema = make_bundle(), SCHEMA.predictive
    table = ReasonTable.of_bundle(bundle, schema)
    columns = make_columns(customer_ids(), 3)
    matrix = schema.to_matrix(columns, bundle.categories)
    points = np.random.default_rng(1).normal(size=matrix.shape)
    order = table.largest(points, 3)
    together = table.sentences(order, columns, matrix, 4)
    assert together.shape == (len(matrix), 4)
    for row, places in enumerate(order.tolist()):
        said = [table.sentence(place, shortest(columns[schema.names[place]][row])) for place in places]
        assert together[row].tolist() == [*said, None]
    assert any(sentence.endswith("; pro is typical") for sentence in together[:, 0])


def test_the_largest_come_first_and_ties_by_name() -> None:
    schema = SCHEMA.predictive
    table = ReasonTable.of_bundle(make_bundle(), schema)
    points = np.zeros((1, len(schema)))
    points[0, schema.names.index("tickets_open")] = -2.0
    points[0, schema.names.index("mrr")] = 1.0
    names = [schema.names[column] for column in table.largest(points, len(schema))[0].tolist()]
    assert names == ["tickets_open", "mrr", *sorted(set(schema.names) - {"tickets_open", "mrr"})]
