"""`python -m tests.proxy.dialects.measure_prompt_bounds`: a table of what each text is held for beyond its tokens.

Claude's published vocabulary comes with the package `anthropic-tokenizer`; install it beside the others first.
"""

import anthropic_tokenizer
import bpe_openai

from proxy.dialects.prompt_bound import text_bound
from tests.proxy.samples import NOISE, REAL


def main() -> None:
    o200k, cl100k = (bpe_openai.get_encoding(name) for name in ("o200k_base", "cl100k_base"))
    print("| text | bytes | GPT: tokens | held | slack | Claude: tokens | held | slack |")
    print("|---|---|---|---|---|---|---|---|")
    counted: dict[str, int] = {}
    for name, text in (REAL | NOISE).items():
        raw = text.encode()
        gpt = max(len(o200k.encode_ordinary(text)), len(cl100k.encode_ordinary(text)))
        newest = len(o200k.encode_ordinary(text))
        claude = counted[name] = anthropic_tokenizer.count_tokens(text)
        held_gpt, held_claude = text_bound(raw, "gpt"), text_bound(raw, "claude")
        print(
            f"| {name} | {len(raw)} | {newest} ({gpt}) | {held_gpt} | {held_gpt / newest:.1f} "
            f"| {claude} | {held_claude} | {held_claude / claude:.1f} |"
        )
    print(counted)


if __name__ == "__main__":
    main()
