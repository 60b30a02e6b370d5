"""Usage off a stream against a model of it: whatever events come, wherever the bytes are cut, the last word counts."""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run

from billing.usage import Usage
from proxy.dialects import ANTHROPIC, OPENAI
from tests.proxy.dialects.wire import BODY, parse

TOKENS = st.none() | st.integers(0, 100_000)
NEWLINES = st.sampled_from(["\n", "\r\n", "\r"])
TEXTS = st.text(max_size=12).filter(lambda text: "content_block_delta" not in text)


class Stream(RuleBasedStateMachine):
    """A stream as it is written. `known` has, after each event, what a reader of it must know."""

    dialect: Any
    asks: dict[str, Any] = {}

    def __init__(self) -> None:
        super().__init__()
        self.events: list[bytes] = []
        self.kept: list[bool] = []
        self.said: dict[str, int] = {}
        self.known: list[Usage] = [Usage()]
        self.over = False

    def write(self, data: Any, *, newline: str, name: str = "", kept: bool = True) -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        lines = [f"event: {name}"] if name else []
        self.events.append("".join(f"{line}{newline}" for line in (*lines, f"data: {text}", "")).encode())
        self.kept.append(kept)
        self.known.append(self.merged())

    def merged(self) -> Usage:
        raise NotImplementedError

    @rule(comment=st.sampled_from([": keep-alive", ":", "retry: 10"]), newline=NEWLINES)
    def says_nothing(self, comment: str, newline: str) -> None:
        self.events.append(f"{comment}{newline}{newline}".encode())
        self.kept.append(True)
        self.known.append(self.known[-1])

    def teardown(self) -> None:
        whole = b"".join(self.events)
        passed = b"".join(event for event, kept in zip(self.events, self.kept, strict=True) if kept)
        ends = [sum(map(len, self.events[:count])) for count in range(len(self.events) + 1)]
        parsed = parse({**BODY, **self.asks}, self.dialect)
        for cut in range(len(whole) + 1):
            meter = self.dialect.stream_meter(parsed)
            out = meter.feed(whole[:cut])
            complete = sum(end <= cut for end in ends) - 1
            assert meter.reading().usage == self.known[complete], (cut, whole)
            out += meter.feed(whole[cut:]) + meter.end()
            assert meter.reading().usage == self.known[-1], (cut, whole)
            assert out == passed, (cut, whole)
        meter = self.dialect.stream_meter(parsed)
        out = b"".join(meter.feed(whole[at : at + 1]) for at in range(len(whole))) + meter.end()
        assert (out, meter.reading().usage, meter.finished) == (passed, self.known[-1], self.over)


class Anthropic(Stream):
    dialect = ANTHROPIC

    def merged(self) -> Usage:
        said = self.said
        five, hour = said.get("five", 0), said.get("hour", 0)
        return Usage(
            input_tokens=said.get("input_tokens", 0),
            output_tokens=said.get("output_tokens", 0),
            cache_read_tokens=said.get("cache_read_input_tokens", 0),
            cache_write_5m_tokens=five + max(0, said.get("cache_creation_input_tokens", 0) - five - hour),
            cache_write_1h_tokens=hour,
        )

    def hear(self, usage: dict[str, Any]) -> None:
        self.said |= {name: value for name, value in usage.items() if isinstance(value, int)}
        if (split := usage.get("cache_creation")) is not None:
            self.said |= {
                "five": split["ephemeral_5m_input_tokens"],
                "hour": split["ephemeral_1h_input_tokens"],
            }

    usages = st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(
                ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
                TOKENS,
            ),
            "cache_creation": st.none()
            | st.fixed_dictionaries(
                dict.fromkeys(
                    ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"), st.integers(0, 1_000)
                )
            ),
        },
    )

    @rule(usage=usages, newline=NEWLINES)
    def starts(self, usage: dict[str, Any], newline: str) -> None:
        self.hear(usage)
        event = {"type": "message_start", "message": {"model": "m", "usage": usage}}
        self.write(event, newline=newline, name="message_start")

    @rule(text=TEXTS, newline=NEWLINES)
    def writes_text(self, text: str, newline: str) -> None:
        """The text may look like an event of its own; it is none."""
        delta = {"type": "text_delta", "text": f'{text}"usage":{{"output_tokens":7}}'}
        self.write({"type": "content_block_delta", "index": 0, "delta": delta}, newline=newline)

    @rule(usage=usages, newline=NEWLINES)
    def counts(self, usage: dict[str, Any], newline: str) -> None:
        self.hear(usage)
        event = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": usage}
        self.write(event, newline=newline, name="message_delta")

    @rule(newline=NEWLINES, kind=st.sampled_from(["ping", "of_a_later_version"]))
    def says_something_else(self, newline: str, kind: str) -> None:
        self.write({"type": kind, "usage": {"output_tokens": 9_999}}, newline=newline, name=kind)

    @precondition(lambda self: not self.over)
    @rule(newline=NEWLINES)
    def stops(self, newline: str) -> None:
        self.over = True
        self.write({"type": "message_stop"}, newline=newline, name="message_stop")


class OpenAI(Stream):
    dialect = OPENAI
    asks = {"stream": True}

    def merged(self) -> Usage:
        cached = self.said.get("cached", 0)
        return Usage(
            input_tokens=self.said.get("prompt", 0) - cached,
            output_tokens=self.said.get("completion", 0),
            cache_read_tokens=cached,
        )

    @rule(text=TEXTS, newline=NEWLINES)
    def writes_text(self, text: str, newline: str) -> None:
        choices = [{"index": 0, "delta": {"content": text}}]
        self.write({"model": "m", "choices": choices, "usage": None}, newline=newline)

    @rule(
        prompt=st.integers(0, 1_000),
        completion=st.integers(0, 1_000),
        share=st.integers(0, 100),
        alone=st.booleans(),
        newline=NEWLINES,
    )
    def counts(self, prompt: int, completion: int, share: int, alone: bool, newline: str) -> None:
        """In a chunk of its own, which nobody asked for and nobody gets, or beside text."""
        cached = prompt * share // 100
        self.said = {"prompt": prompt, "completion": completion, "cached": cached}
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        usage |= {"prompt_tokens_details": {"cached_tokens": cached}}  # type: ignore[dict-item]  # as on the wire
        choices = [] if alone else [{"index": 0, "delta": {"content": "x"}}]
        self.write({"model": "m", "choices": choices, "usage": usage}, newline=newline, kept=not alone)

    @precondition(lambda self: not self.over)
    @rule(newline=NEWLINES)
    def stops(self, newline: str) -> None:
        self.over = True
        self.write("[DONE]", newline=newline)


MANY = settings(max_examples=40, stateful_step_count=10, deadline=None, database=None)


def test_a_messages_stream_cut_anywhere_is_read_as_the_model_reads_it() -> None:
    run(Anthropic, settings=MANY)


def test_a_completions_stream_cut_anywhere_is_read_as_the_model_reads_it() -> None:
    run(OpenAI, settings=MANY)
