"""The API does what its document says: schemathesis asks every operation, rightly and wrongly.

SCHEMATHESIS_EXAMPLES=200 asks more of each; by default it asks few, the same each time.
"""

import os
from datetime import UTC, datetime

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.adapters.history import History
from service.adapters.posted_files import PostedFiles
from service.adapters.redis_store import RedisStore
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.ports import Changes
from service.entrypoints.api import build_app
from service.entrypoints.api.access import Local, digest
from service.telemetry import Metrics
from tests.factories import make_finding, make_notice

ADMIN = "a" * 40
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "3"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def now():
    return datetime.now(tz=UTC)


@pytest.fixture(scope="module")
def app(store_server, tmp_path_factory):
    place = tmp_path_factory.mktemp("document")
    store = RedisStore.connect(store_server.url)
    store._redis.flushall()
    notice = make_notice()
    store.save(Changes(previous=0, offset=1, incidents=[notice.incident], notices=[notice],
                       findings=[make_finding()]))  # fmt: skip
    pipeline = build_pipeline(Settings(), {}, tells_history=False)
    pipeline.step([], now(), 1)
    offset = [1]

    def follow(intent, _within):
        refused = pipeline.refusal(intent)
        if refused is None:
            offset[0] += 1
            store.save(pipeline.intent(intent, intent.at, offset[0]).changes)
        return refused

    history = History(place / "history")
    posting = PostedFiles({"pushed": place / "pushed"}, place / "dead.ndjson", lambda *_: None)
    yield build_app(
        store=store, history=history, metrics=Metrics("0"), started_at=now(), now=now,
        follow=follow, posting=posting, local=Local(None, digest(ADMIN)),
    )  # fmt: skip
    history.close()
    store.close()


@pytest.fixture(scope="module")
def operations(app):
    document = schemathesis.openapi.from_asgi("/v1/openapi.json", app)
    return [found.ok() for found in document.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_answer_is_a_fault_or_another_than_the_document_says(operations, mode):
    asked = 0
    for operation in operations:

        @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            nonlocal asked
            asked += 1
            case.call_and_validate(headers={"Authorization": f"Bearer {ADMIN}"}, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:  # nothing of it can be said wrongly
            assert mode is GenerationMode.NEGATIVE
    assert asked >= EXAMPLES * len(operations) / 2
