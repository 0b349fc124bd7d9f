"""Tracing: who is traced, what a trace tells, and how it goes on elsewhere."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import Throttled
from sidecar.telemetry.logs import add_trace
from sidecar.telemetry.tracing import (
    CONTEXTS_MAX,
    OFF,
    SeededIds,
    carried,
    child,
    current_ids,
    format_context,
    parse_context,
)
from tests.support.builders import NOW
from tests.support.traces import Traces, attributes_of, context_text, span_context

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = GIVEN[:-2] + "00"


def test_context_of_w3c_is_read_and_written_as_it_was() -> None:
    context = parse_context(GIVEN)
    assert context is not None
    assert context.is_remote
    assert format_context(context) == GIVEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GIVEN.upper(),
        GIVEN + "-00",
        "ff" + GIVEN[2:],
        GIVEN.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GIVEN.replace("b7ad6b7169203331", "0" * 16),
        " " + GIVEN,
        GIVEN + "\n",
        "01" + GIVEN[2:] + "-" + "x" * 201,
    ],
)
def test_text_that_is_no_context_counts_as_none(text: str) -> None:
    assert parse_context(text) is None


def test_context_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    later = parse_context("01" + GIVEN[2:] + "-more")
    assert later is not None
    assert later.span_id == 0xB7AD6B7169203331


@given(st.text(max_size=300))
def test_whatever_a_caller_sends_is_read_or_not_but_never_fails(text: str) -> None:
    context = parse_context(text)
    assert context is None or context.is_valid


def test_nothing_is_traced_without_a_collector() -> None:
    with OFF.root("work") as part, child("inner") as inner:
        assert not part.is_traced
        assert not inner.is_traced
        assert carried() is None
    assert not OFF.called("call", GIVEN).is_traced
    assert not OFF.joined("work", GIVEN).is_traced


def test_share_of_work_is_traced_and_nothing_is_made_of_the_rest() -> None:
    traces = Traces(ratio=0.1)
    for _ in range(1_000):
        with traces.tracing.root("work"), child("inner"):
            pass
    assert 60 < traces.names.count("work") < 150, "the seed is fixed"
    assert traces.names.count("inner") == traces.names.count("work")


def test_caller_that_traces_has_its_trace_gone_on_with() -> None:
    traces = Traces(ratio=0.0)
    traces.tracing.called("call", GIVEN).begin().end()
    span = traces.one("call")
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == GIVEN[3:35]
    assert f"{span.parent.span_id:016x}" == GIVEN[36:52]


def test_caller_that_does_not_trace_is_not_traced_either() -> None:
    traces = Traces(ratio=1.0)
    assert not traces.tracing.called("call", UNSAMPLED).is_traced


def test_callers_beyond_the_allowance_are_traced_by_chance_like_others() -> None:
    traces = Traces(ratio=0.0, asked_max=2)
    assert [traces.tracing.called("call", GIVEN).is_traced for _ in range(4)] == [True, True, False, False]


def test_context_that_is_none_leaves_the_decision_to_chance() -> None:
    assert Traces(ratio=1.0).tracing.called("call", "nonsense").is_traced
    assert not Traces(ratio=0.0).tracing.called("call", "nonsense").is_traced


def test_work_joins_the_first_trace_that_caused_it_and_links_all() -> None:
    traces = Traces(ratio=0.0)
    other = GIVEN.replace("b7ad6b7169203331", "b7ad6b7169203332")
    with traces.tracing.joined("work", f"{GIVEN} {other}"):
        pass
    span = traces.one("work")
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == GIVEN[36:52]
    assert [f"{link.context.span_id:016x}" for link in span.links] == [GIVEN[36:52], other[36:52]]


def test_work_that_nothing_traced_caused_is_not_traced_whatever_the_ratio() -> None:
    assert not Traces(ratio=1.0).tracing.joined("work", "").is_traced
    assert not Traces(ratio=1.0).tracing.joined("work", "garbage").is_traced


def test_contexts_beyond_the_most_are_not_linked() -> None:
    traces = Traces()
    with traces.tracing.joined("work", " ".join([GIVEN] * (CONTEXTS_MAX + 5))):
        pass
    assert len(traces.one("work").links) == CONTEXTS_MAX


def test_parts_of_work_are_children_also_in_tasks_that_it_starts() -> None:
    traces = Traces()

    async def inner() -> None:
        with child("inner"):
            await asyncio.sleep(0)

    async def outer() -> None:
        with traces.tracing.root("work"):
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
        assert carried() is None

    asyncio.run(outer())
    work, part = traces.one("work"), traces.one("inner")
    assert part.parent is not None
    assert part.parent.span_id == span_context(work).span_id


def test_what_is_carried_is_the_context_of_the_innermost_part() -> None:
    traces = Traces()
    with traces.tracing.root("work"), child("commit"):
        told = carried()
    assert told == context_text(traces.one("commit"))


def test_failure_is_told_by_its_reason_and_never_by_its_text() -> None:
    traces = Traces()
    for error in (Throttled("canary@contoso.example", details={"canary": "x"}), ValueError("canary")):
        with pytest.raises(type(error)), traces.tracing.root("work"):
            raise error
    assert [attributes_of(span)["error.type"] for span in traces.spans] == ["EXCHANGE_THROTTLED", "ValueError"]
    assert "canary" not in "".join(span.to_json() for span in traces.spans)
    assert all(not span.status.is_ok for span in traces.spans)


def test_attribute_that_no_table_names_is_an_error_of_ours() -> None:
    traces = Traces()
    with traces.tracing.root("work") as part, pytest.raises(AssertionError, match="one table"):
        part.note("mailbox", "room@contoso.example")
    with pytest.raises(AssertionError, match="one table"):
        traces.tracing.root("work", attributes={"subject": "Design review"})


def test_text_of_an_attribute_is_cut() -> None:
    traces = Traces()
    with traces.tracing.root("work") as part:
        part.note("url.template", "x" * 10_000)
    assert len(str(attributes_of(traces.one("work"))["url.template"])) == 100


def test_something_over_is_told_with_its_own_times() -> None:
    traces = Traces()
    traces.tracing.tell("delivered", GIVEN, began_at=NOW, ended_at=NOW + timedelta(seconds=2))
    span = traces.one("delivered")
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 2_000_000_000


def test_clock_that_went_back_makes_no_span_that_ends_before_it_begins() -> None:
    traces = Traces()
    traces.tracing.tell("delivered", GIVEN, began_at=NOW, ended_at=NOW - timedelta(seconds=2))
    span = traces.one("delivered")
    assert span.start_time == span.end_time


def test_line_of_the_log_says_what_trace_it_belongs_to() -> None:
    traces = Traces()
    assert add_trace(None, "info", {"event": "outside"}) == {"event": "outside"}
    with traces.tracing.root("work"):
        line = add_trace(None, "info", {"event": "inside"})
        assert current_ids() == (line["trace_id"], line["span_id"])
    context = span_context(traces.one("work"))
    assert line == {
        "event": "inside",
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
    }


def test_ids_follow_from_the_seed() -> None:
    first, second = SeededIds(Random(3)), SeededIds(Random(3))
    assert [first.generate_trace_id(), first.generate_span_id()] == [
        second.generate_trace_id(),
        second.generate_span_id(),
    ]
