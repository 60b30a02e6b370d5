"""Tries Python clients for real and prints a table of what each was seen to do.

Needs a running installation whose sandbox answers (`make up`), TENANTRY_URL, TENANTRY_KEY, and the packages of
`requirements.txt`. They are no dependencies of the project, so that they can be the newest there are.
"""
# mypy: ignore-errors
# The clients are not installed where types are checked.

import asyncio
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ.setdefault("LITELLM_LOG", "ERROR")

import anthropic
import httpx
import langchain_anthropic
import langchain_openai
import litellm
import openai

URL, KEY = os.environ["TENANTRY_URL"], os.environ["TENANTRY_KEY"]
MODEL, EMBEDDER = "claude-sonnet-4-20250514", os.environ.get("TENANTRY_EMBEDDER", "")
ASK = [{"role": "user", "content": "hi"}]
SPENT = {"x-tenantry-run-id": f"spent-{os.getpid()}", "x-tenantry-run-max-usd": "0.000001"}
PARAMETERS = {"type": "object", "properties": {"a": {"type": "number"}}}
litellm.suppress_debug_info = True
Try = Callable[[], Any]


def claude(**headers: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=URL, api_key=KEY, default_headers=headers)


def gpt(**headers: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, default_headers=headers)


def chain_claude(**headers: str) -> langchain_anthropic.ChatAnthropic:
    return langchain_anthropic.ChatAnthropic(
        model=MODEL, base_url=URL, api_key=KEY, max_tokens=50, default_headers=headers
    )


def chain_gpt(**headers: str) -> langchain_openai.ChatOpenAI:
    return langchain_openai.ChatOpenAI(
        model=MODEL, base_url=f"{URL}/v1", api_key=KEY, default_headers=headers, stream_usage=True
    )


def lite(wire: str, **options: Any) -> Any:
    base = URL if wire == "anthropic" else f"{URL}/v1"
    return litellm.completion(
        model=f"{wire}/{MODEL}", api_base=base, api_key=KEY, messages=ASK, max_tokens=50, **options
    )


async def lite_async(wire: str) -> int:
    base = URL if wire == "anthropic" else f"{URL}/v1"
    answer = await litellm.acompletion(
        model=f"{wire}/{MODEL}", api_base=base, api_key=KEY, messages=ASK, max_tokens=50
    )
    return answer.usage.completion_tokens


def streamed_claude() -> int:
    with claude().messages.stream(model=MODEL, max_tokens=50, messages=ASK) as stream:
        return stream.get_final_message().usage.output_tokens


def streamed_gpt() -> int:
    options = {"include_usage": True}
    chunks = gpt().chat.completions.create(model=MODEL, messages=ASK, stream=True, stream_options=options)
    return [chunk.usage for chunk in chunks][-1].completion_tokens


def chained(chunks: Any) -> int:
    return sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata)


def embed_openai() -> int:
    return len(gpt().embeddings.create(model=EMBEDDER, input=["a", "b"]).data)


def embed_chain() -> int:
    embedder = langchain_openai.OpenAIEmbeddings(
        model=EMBEDDER, base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False
    )
    return len(embedder.embed_documents(["a", "b"]))


def embed_lite() -> int:
    answer = litellm.embedding(
        model=f"openai/{EMBEDDER}",
        api_base=f"{URL}/v1",
        api_key=KEY,
        input=["a", "b"],
        encoding_format="float",
    )
    return len(answer.data)


TOOL = {"name": "add", "description": "adds", "input_schema": PARAMETERS}
FUNCTION = {"type": "function", "function": {"name": "add", "parameters": PARAMETERS}}
CLIENTS: dict[str, dict[str, Try]] = {
    f"anthropic {version('anthropic')}": {
        "call": lambda: (
            claude().messages.create(model=MODEL, max_tokens=50, messages=ASK).usage.output_tokens
        ),
        "async": lambda: (
            asyncio.run(
                anthropic.AsyncAnthropic(base_url=URL, api_key=KEY).messages.create(
                    model=MODEL, max_tokens=50, messages=ASK
                )
            ).usage.output_tokens
        ),
        "stream": streamed_claude,
        "tools": lambda: (
            claude()
            .messages.create(model=MODEL, max_tokens=50, messages=ASK, tools=[TOOL])
            .usage.output_tokens
        ),
        "spent": lambda: claude(**SPENT).messages.create(model=MODEL, max_tokens=50, messages=ASK),
    },
    f"openai {version('openai')}": {
        "call": lambda: gpt().chat.completions.create(model=MODEL, messages=ASK).usage.completion_tokens,
        "async": lambda: (
            asyncio.run(
                openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY).chat.completions.create(
                    model=MODEL, messages=ASK
                )
            ).usage.completion_tokens
        ),
        "stream": streamed_gpt,
        "tools": lambda: (
            gpt().chat.completions.create(model=MODEL, messages=ASK, tools=[FUNCTION]).usage.completion_tokens
        ),
        "embeddings": embed_openai,
        "spent": lambda: gpt(**SPENT).chat.completions.create(model=MODEL, messages=ASK),
    },
    f"LangChain ChatAnthropic {version('langchain-anthropic')}": {
        "call": lambda: chain_claude().invoke("hi").usage_metadata["output_tokens"],
        "async": lambda: asyncio.run(chain_claude().ainvoke("hi")).usage_metadata["output_tokens"],
        "stream": lambda: chained(chain_claude().stream("hi")),
        "tools": lambda: chain_claude().bind_tools([TOOL]).invoke("hi").usage_metadata["output_tokens"],
        "spent": lambda: chain_claude(**SPENT).invoke("hi"),
    },
    f"LangChain ChatOpenAI {version('langchain-openai')}": {
        "call": lambda: chain_gpt().invoke("hi").usage_metadata["output_tokens"],
        "async": lambda: asyncio.run(chain_gpt().ainvoke("hi")).usage_metadata["output_tokens"],
        "stream": lambda: chained(chain_gpt().stream("hi")),
        "tools": lambda: chain_gpt().bind_tools([FUNCTION]).invoke("hi").usage_metadata["output_tokens"],
        "embeddings": embed_chain,
        "spent": lambda: chain_gpt(**SPENT).invoke("hi"),
    },
    f"LiteLLM `anthropic/` {version('litellm')}": {
        "call": lambda: lite("anthropic").usage.completion_tokens,
        "async": lambda: asyncio.run(lite_async("anthropic")),
        "stream": lambda: len(list(lite("anthropic", stream=True))),
        "tools": lambda: lite("anthropic", tools=[FUNCTION]).usage.completion_tokens,
        "spent": lambda: lite("anthropic", extra_headers=SPENT),
    },
    f"LiteLLM `openai/` {version('litellm')}": {
        "call": lambda: lite("openai").usage.completion_tokens,
        "async": lambda: asyncio.run(lite_async("openai")),
        "stream": lambda: len(list(lite("openai", stream=True))),
        "tools": lambda: lite("openai", tools=[FUNCTION]).usage.completion_tokens,
        "embeddings": embed_lite,
        "spent": lambda: lite("openai", extra_headers=SPENT),
    },
}


def refused() -> int:
    """Calls refused so far. The count comes with the ledger, within a second or two."""
    time.sleep(2.5)
    usage = httpx.get(f"{URL}/v1/usage", headers={"x-api-key": KEY}).json()
    return int(usage["refused"].get("budget_exceeded", 0))


def cell(tries: dict[str, Try], name: str) -> str:
    if name not in tries or (name == "embeddings" and not EMBEDDER):
        return "–"
    try:
        return "yes" if tries[name]() else "nothing came"
    except Exception as error:  # whatever a client raises is what it was seen to do
        return f"{type(error).__name__}"


def spent(tries: dict[str, Try]) -> str:
    """What becomes of a call whose run is spent: the error, and how often the client asked."""
    before = refused()
    raised = cell(tries, "spent")
    return f"{raised}, asked {refused() - before}×"


def main() -> None:
    for name, tries in CLIENTS.items():
        seen = [cell(tries, each) for each in ("call", "async", "stream", "tools", "embeddings")]
        print("| " + " | ".join([name, *seen, spent(tries)]) + " |", flush=True)


if __name__ == "__main__":
    main()
