import uuid
from datetime import UTC, datetime, timedelta

from billing.request_ids import created_at, new_request_id


def test_an_id_is_a_uuid_of_version_7_in_canonical_text():
    for _ in range(200):
        text = new_request_id()

        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_an_id_carries_its_own_time():
    before = datetime.now(UTC)

    moment = created_at(new_request_id())

    assert before - timedelta(milliseconds=1) <= moment <= datetime.now(UTC)


def test_ids_do_not_repeat():
    assert len({new_request_id() for _ in range(10_000)}) == 10_000


def test_an_id_that_is_none_of_ours_carries_no_time_beyond_the_calendar():
    assert created_at("ffffffff-ffff-ffff-ffff-ffffffffffff").year == 9999
