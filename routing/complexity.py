"""Whether a request is simple or complex, by rules that staff can edit."""

from routing.choice import Ask, Complexity, ComplexityRules


def complexity_of(ask: Ask, rules: ComplexityRules) -> Complexity:
    """Complex if any size exceeds its threshold, or the system prompt contains a keyword."""
    return Complexity.COMPLEX if why_complex(ask, rules) else Complexity.SIMPLE


def why_complex(ask: Ask, rules: ComplexityRules) -> str:
    """The rule that makes `ask` complex, as text for people; empty if none does."""
    if ask.text_bytes > rules.max_simple_bytes:
        return f"{ask.text_bytes} bytes of text, more than {rules.max_simple_bytes}"
    if ask.message_count > rules.max_simple_messages:
        return f"{ask.message_count} messages, more than {rules.max_simple_messages}"
    if ask.tool_count > rules.max_simple_tools:
        return f"{ask.tool_count} tools, more than {rules.max_simple_tools}"
    keyword = keyword_in(ask, rules)
    return f"the system prompt contains “{keyword}”" if keyword else ""


def keyword_in(ask: Ask, rules: ComplexityRules) -> str:
    """The first keyword in the system prompt; empty if there is none."""
    system = ask.system_text.lower()
    return next((keyword for keyword in rules.keywords if keyword in system), "")
