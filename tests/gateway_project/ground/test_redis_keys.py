"""Redis keys are spelled in one module, and the names are those that running installations have data under."""

import ast
from functools import cache
from pathlib import Path

import pytest

from gateway_project.ground import redis_keys
from gateway_project.ground.redis_keys import SHARDS

HOME = Path(__file__).resolve().parents[3]
SOURCES = [
    path
    for room in ("bench", "billing", "gateway_project", "proxy", "routing", "tenants")
    for path in sorted((HOME / room).rglob("*.py"))
    if path != Path(redis_keys.__file__)
]
# What a client's method, or a command's name, takes as its first argument is a key.
COMMANDS = frozenset(
    [
        *("delete", "exists", "expire", "get", "pexpire", "scan_iter", "set", "unlink"),
        *("hdel", "hexists", "hget", "hgetall", "hincrby", "hlen", "hmget", "hset", "hsetnx", "hvals"),
        *(
            "decrby",
            "incrby",
            "sadd",
            "smembers",
            "srem",
            "zadd",
            "zcard",
            "zcount",
            "zrange",
            "zrangebyscore",
            "zrem",
        ),
        *("xack", "xadd", "xautoclaim", "xdel", "xgroup_create", "xlen", "xrange"),
    ]
)

NAMES = (redis_keys.PREPAID_COUNTER, redis_keys.SHADOW_WINDOW, redis_keys.BREAKER_BOARD)


@cache
def parts() -> set[str]:
    """The pieces of text that keys are made of, as the module spells them: `:shard`, `b:`, `b:prepaid`…"""
    tree = ast.parse(Path(redis_keys.__file__).read_text())
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    }
    return {text for text in texts if ":" in text and text not in (":", ":*")}


def spelled_by_hand(source: str) -> list[str]:
    """Expressions of `source` that look like a Redis key made on the spot."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            if _pieces(node) & parts() or _is_tagged(node):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Constant):
            if node.value in NAMES:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(key := _key_of(node), ast.JoinedStr | ast.BinOp):
            found.append(ast.unparse(key))
    return found


def _pieces(node: ast.JoinedStr) -> set[str]:
    return {str(part.value) for part in node.values if isinstance(part, ast.Constant)}


def _is_tagged(node: ast.JoinedStr) -> bool:
    """`{s3}` and what comes after it."""
    return ast.unparse(node).startswith(("f'{{s", 'f"{{s'))


def _key_of(call: ast.Call) -> ast.expr | None:
    if not isinstance(call.func, ast.Attribute):
        return None
    if call.func.attr == "call" and len(call.args) > 1:
        return call.args[1]
    return call.args[0] if call.func.attr in COMMANDS and call.args else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HOME)))
def test_no_other_module_spells_a_redis_key(path):
    assert spelled_by_hand(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'store().hget(f"{tag}:shard", "policy")',
        'keys = [f"{prefix}:leases"]',
        'name = f"b:{period}"',
        'counter == "b:prepaid"',
        'await pipe.call("HINCRBY", f"{board}:novelty", 1)',
        'pipeline.xadd(stream + ":poison", fields)',
        'key = f"{{s{shard}}}:new"',
    ],
)
def test_a_key_spelled_by_hand_is_found(line):
    assert spelled_by_hand(f"async def f():\n    {line}")


def test_the_names_are_those_that_installations_have():
    tenant, shard = SHARDS + 3, 3
    text = "{s3}:t:" + str(tenant)

    assert {
        name: getattr(redis_keys, name)(*arguments)
        for name, arguments in {
            "shard_key": (shard,),
            "workers_key": (shard,),
            "busy_key": (shard,),
            "usage_stream": (shard,),
            "poison_stream": (shard,),
            "overruns_key": (shard,),
            "tombstone_key": (shard, "id"),
            "tenant_key": (tenant,),
            "leases_key": (tenant,),
            "named_key": (tenant, "rpm"),
            "idempotency_key": (tenant, "abc"),
            "idempotency_index": (tenant,),
            "idempotency_bytes": (tenant,),
            "counter_patterns": (tenant,),
            "budget_counter": ("2026-03-01",),
            "key_counter": (7, "2026-03-01"),
            "user_counter": ("u1", "2026-03-01"),
            "run_counter": ("r1",),
            "day_counter": ("2026-03-09",),
            "key_window": (7,),
            "user_window": ("u1",),
            "conversation_name": ("c1",),
        }.items()
    } == {
        "shard_key": "{s3}:shard",
        "workers_key": "{s3}:workers",
        "busy_key": "{s3}:busy",
        "usage_stream": "{s3}:usage",
        "poison_stream": "{s3}:usage:poison",
        "overruns_key": "{s3}:overruns",
        "tombstone_key": "{s3}:done:id",
        "tenant_key": text,
        "leases_key": f"{text}:leases",
        "named_key": f"{text}:rpm",
        "idempotency_key": f"{text}:idem:abc",
        "idempotency_index": f"{text}:idem",
        "idempotency_bytes": f"{text}:idem-bytes",
        "counter_patterns": (f"{text}:b:*", f"{text}:d:*", f"{text}:[kur]:*:b:*"),
        "budget_counter": "b:2026-03-01",
        "key_counter": "k:7:b:2026-03-01",
        "user_counter": "u:u1:b:2026-03-01",
        "run_counter": "r:r1:b",
        "day_counter": "d:2026-03-09",
        "key_window": "k:7:rpm",
        "user_window": "u:u1:rpm",
        "conversation_name": "c:c1",
    }  # fmt: skip
    assert (redis_keys.TENANT_WINDOW, redis_keys.SHADOW_WINDOW) == ("rpm", "shadow:rpm")
    assert (redis_keys.PREPAID_COUNTER, redis_keys.BREAKER_BOARD) == ("b:prepaid", "tenantry:breakers")


def test_every_key_of_a_tenant_is_in_its_shards_slot():
    keys = [redis_keys.leases_key(5), redis_keys.named_key(5, "rpm"), redis_keys.idempotency_key(5, "a")]
    keys += redis_keys.named_keys(redis_keys.tenant_key(5), ("rpm", ""))

    tags = {key.partition("}")[0] + "}" for key in keys}

    assert tags == {redis_keys.tag(redis_keys.shard_of(5))}
