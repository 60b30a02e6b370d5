import hashlib

from billing.meter.connection.script import LUA, Script, bulk, pack


def test_a_part_packed_once_is_the_same_in_every_command():
    assert b"*3\r\n" + bulk("SET", "a") + bulk(1) == pack(("SET", "a", 1))


def test_a_script_is_called_by_its_digest_and_sent_whole_to_who_does_not_know_it():
    script: Script[tuple[str, ...], tuple[str, ...]] = Script("beat")
    source = (LUA / "beat.lua").read_bytes()
    digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()

    call = script.call(("key", "other"), ("argument",))

    assert call.key == "key"
    assert call.packed() == pack(("EVALSHA", digest, 2, "key", "other", "argument"))
    assert call.with_source() == pack(("EVAL", source, 2, "key", "other", "argument"))
