"""Tokens are drawn as asked: greedily, from a part of the mass, by a seed."""

from __future__ import annotations

import pytest
import torch

from revisor.server.sampling import UNLIKELY, Sampling, choose, generator_of

LOGITS = torch.tensor([1.0, 3.0, 2.0, -1.0])


def draws(sampling: Sampling, count: int = 400) -> list[int]:
    generator = generator_of(sampling, 0)
    return [choose(LOGITS, sampling, generator).token for _ in range(count)]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert set(draws(Sampling(temperature=0), 5)) == {1}


def test_draws_follow_the_models_probabilities() -> None:
    found = torch.bincount(torch.tensor(draws(Sampling(seed=3), 4000)), minlength=4) / 4000
    assert torch.allclose(found, torch.softmax(LOGITS, 0), atol=0.03)


def test_top_p_draws_from_the_smallest_set_that_reaches_it() -> None:
    assert set(draws(Sampling(top_p=0.6, seed=0))) == {1}
    assert set(draws(Sampling(top_p=0.8, seed=0))) == {1, 2}
    assert set(draws(Sampling(top_p=1e-9, seed=0))) == {1}


def test_a_seed_repeats_and_answers_of_one_request_differ() -> None:
    hot = Sampling(temperature=2, seed=11)
    assert draws(hot) == draws(hot)
    other = generator_of(hot, 1)
    assert [choose(LOGITS, hot, other).token for _ in range(400)] != draws(hot)


@pytest.mark.parametrize("tiny", [1e-8, 1e-46, 1e-320])
def test_numbers_too_small_to_tell_from_zero_are_greedy_and_never_fail(tiny: float) -> None:
    assert set(draws(Sampling(temperature=tiny, seed=0), 20)) == {1}
    assert set(draws(Sampling(top_p=tiny, seed=0), 20)) == {1}


def test_a_written_token_is_chosen_at_any_temperature() -> None:
    written = torch.full((4,), -torch.inf)
    written[3] = 0.0
    generator = generator_of(Sampling(seed=0), 0)
    for sampling in (Sampling(temperature=2), Sampling(top_p=0.1), Sampling(logprobs=3)):
        chosen = choose(written, sampling, generator)
        assert chosen.token == 3
    assert chosen.logprob == 0.0
    assert min(logprob for _, logprob in chosen.rivals) == UNLIKELY


def test_log_probabilities_are_the_models_own() -> None:
    chosen = choose(LOGITS, Sampling(temperature=0, logprobs=2), torch.Generator())
    expected = torch.log_softmax(LOGITS, 0)
    assert chosen.logprob == float(expected[1])
    assert chosen.rivals == ((1, float(expected[1])), (2, float(expected[2])))
    assert choose(LOGITS, Sampling(), torch.Generator()).logprob is None
