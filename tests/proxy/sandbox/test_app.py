"""The sandbox speaks both formats well enough for the official SDKs."""

import json

import anthropic
import openai
import pytest

from tests.sandbox import running_sandbox


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    return tmp_path_factory.mktemp("sandbox") / "journal"


@pytest.fixture(scope="module")
def address(journal):
    with running_sandbox(journal) as url:
        yield url


@pytest.fixture
def claude(address):
    return anthropic.Anthropic(base_url=address, api_key="any", max_retries=0)


def ask(client, text="hi", **options):
    return client.messages.create(
        model="m", messages=[{"role": "user", "content": text}], **{"max_tokens": 100, **options}
    )


def test_it_reports_the_usage_it_is_told(claude, journal):
    message = ask(claude, "[[sandbox input_tokens=1000 output_tokens=50]]")

    assert (message.usage.input_tokens, message.usage.output_tokens) == (1000, 50)
    assert json.loads(journal.read_text().splitlines()[-1])["output_tokens"] == 50


def test_it_obeys_max_tokens(claude):
    message = ask(claude, max_tokens=3)
    assert (message.usage.output_tokens, message.stop_reason) == (3, "max_tokens")


def test_it_streams(claude):
    with claude.messages.stream(
        model="m", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        text = "".join(stream.text_stream)
    assert text
    assert stream.get_final_message().usage.output_tokens == 50


def test_it_fails_as_told(claude):
    with pytest.raises(anthropic.APIStatusError) as failure:
        ask(claude, "[[sandbox status=529]]")
    assert failure.value.status_code == 529


def test_it_streams_openais_format_with_usage(address):
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="any")
    chunks = list(
        client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 50


def test_it_embeds(address):
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="any")
    answer = client.embeddings.create(
        model="m", input=["[[sandbox input_tokens=7]]", "b"], encoding_format="float"
    )
    assert len(answer.data) == 2
    assert answer.usage.prompt_tokens == 7
