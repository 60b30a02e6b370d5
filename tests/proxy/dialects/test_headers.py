from proxy.dialects import headers


def test_a_header_that_came_twice_is_joined_by_a_comma():
    assert headers.read([(b"x-api-key", b"one"), (b"x-api-key", b"two")]) == {"x-api-key": "one,two"}


def test_a_name_with_an_underscore_is_no_header():
    assert headers.read([(b"x_api_key", b"one")]) == {}


def test_the_callers_key_cookies_and_addresses_stay_here():
    sent = headers.to_upstream(
        {
            "authorization": "Bearer tn_secret",
            "x-api-key": "tn_secret",
            "cookie": "a=b",
            "host": "gateway",
            "x-forwarded-for": "10.0.0.1",
            "idempotency-key": "1",
            "content-type": "application/json",
        },
        credentials={"x-api-key": "upstream"},
        tracking={},
    )

    assert sent == {
        "content-type": "application/json",
        "x-api-key": "upstream",
        "accept-encoding": "identity",
    }


def test_version_and_beta_headers_pass_byte_for_byte_and_are_never_defaulted():
    given = {"anthropic-version": "2026-10-21", "anthropic-beta": "a-1,b-2 , c"}

    sent = headers.to_upstream(given, credentials={}, tracking={})

    assert given.items() <= sent.items()
    assert "anthropic-version" not in headers.to_upstream({}, credentials={}, tracking={})


def test_our_tracking_header_wins_over_the_callers_of_that_name():
    sent = headers.to_upstream({"user-agent": "spoofed"}, credentials={}, tracking={"user-agent": "ours"})

    assert sent["user-agent"] == "ours"


def test_a_value_that_is_not_ascii_is_left_out():
    assert "user-agent" not in headers.to_upstream({"user-agent": "caf\xe9"}, credentials={}, tracking={})


def test_what_describes_the_companys_account_never_reaches_the_caller():
    answered = [
        (b"content-type", b"application/json"),
        (b"retry-after", b"3"),
        (b"x-should-retry", b"true"),
        (b"anthropic-organization-id", b"org"),
        (b"anthropic-ratelimit-requests-limit", b"4000"),
        (b"x-ratelimit-remaining-tokens", b"7"),
        (b"set-cookie", b"a=b"),
        (b"transfer-encoding", b"chunked"),
        (b"content-encoding", b"gzip"),
        (b"content-length", b"12"),
        (b"request-id", b"req_1"),
        (b"cf-ray", b"x"),
        (b"x-tenantry-cost-usd", b"0"),
    ]

    assert headers.to_caller(answered) == [
        (b"content-type", b"application/json"),
        (b"retry-after", b"3"),
        (b"x-should-retry", b"true"),
    ]
