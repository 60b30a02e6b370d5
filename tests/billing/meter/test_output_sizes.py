"""How long answers are expected to be."""

from billing.meter.output_sizes import LEAST, MOST, UNKNOWN, OutputSizes


def test_an_unknown_tenant_starts_with_a_guess():
    assert OutputSizes().expected(1, "sonnet") == UNKNOWN


def test_the_size_that_95_of_100_answers_stay_below_is_expected():
    sizes = OutputSizes()
    for _ in range(95):
        sizes.learn(1, "sonnet", 300)
    for _ in range(5):
        sizes.learn(1, "sonnet", 9000)

    assert sizes.expected(1, "sonnet") == 512
    sizes.learn(1, "sonnet", 9000)
    assert sizes.expected(1, "sonnet") == MOST


def test_what_is_learned_is_bounded_and_forgets_the_oldest():
    sizes = OutputSizes(most_pairs=2)
    for tenant in (1, 2, 3):
        sizes.learn(tenant, "sonnet", 1)

    assert sizes.expected(3, "sonnet") == LEAST
    assert sizes.expected(1, "sonnet") == UNKNOWN


def test_old_answers_fade():
    sizes = OutputSizes()
    for _ in range(300):
        sizes.learn(1, "sonnet", 5000)
    for _ in range(3000):
        sizes.learn(1, "sonnet", 100)

    assert sizes.expected(1, "sonnet") == LEAST
