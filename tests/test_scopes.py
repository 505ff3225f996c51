import jax
import numpy as np
import pytest

from fedmi import scopes

STREAMS = dict(
    init="init", source="source", variation="variation", order="order", dropout="dropout"
)


def key_data(scope, *, seed, client, stream="source", root=0):
    key = scopes.stream_key(jax.random.key(root), stream, scope, seed=seed, client=client)
    return tuple(jax.random.key_data(key).tolist())


@pytest.mark.parametrize(
    ("scope", "between_seeds", "between_clients"),
    [
        ("fixed", False, False),
        ("client", False, True),
        ("shared", True, False),
        ("independent", True, True),
    ],
)
def test_a_scope_says_what_a_key_differs_between(scope, between_seeds, between_clients):
    here = key_data(scope, seed=3, client=1)
    assert (key_data(scope, seed=4, client=1) != here) == between_seeds
    assert (key_data(scope, seed=3, client=2) != here) == between_clients
    assert scopes.differs_between_seeds(scope) == between_seeds
    assert scopes.differs_between_clients(scope) == between_clients
    assert key_data(scope, seed=3, client=1, stream="order") != here
    assert key_data(scope, seed=3, client=1, root=1) != here


def test_keys_of_all_streams_clients_and_seeds_are_different():
    keys = {
        key_data("independent", seed=seed, client=client, stream=stream)
        for stream in STREAMS
        for client in range(4)
        for seed in range(50)
    }
    assert len(keys) == len(STREAMS) * 4 * 50


def test_keys_do_not_depend_on_vmap():
    root = jax.random.key(0)

    def key(seed):
        return scopes.stream_key(root, "order", "independent", seed=seed, client=2)

    together = jax.random.key_data(jax.vmap(key)(np.arange(5)))
    alone = np.stack([jax.random.key_data(key(seed)) for seed in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_named_couplings_are_those_of_the_design():
    def scope_list(name):
        return list(scopes.resolve(name, STREAMS).values())

    assert scope_list("null") == ["fixed", "client", "client", "independent", "independent"]
    assert scope_list("independent") == ["independent"] * 5
    assert scope_list("shared-source") == ["fixed", "shared", *["independent"] * 3]
    assert scope_list("shared-source-order") == [
        "fixed", "shared", "independent", "shared", "independent",
    ]  # fmt: skip
    assert scope_list("shared-init") == [
        "shared", "client", "client", "independent", "independent",
    ]  # fmt: skip
    assert scope_list("shared-order") == ["fixed", "client", "client", "shared", "shared"]


@pytest.mark.parametrize("name", scopes.COUPLINGS)
def test_a_coupling_is_known_by_its_scopes(name):
    assert scopes.name_of(scopes.resolve(name, STREAMS), STREAMS) == name


def test_other_scopes_are_a_custom_coupling():
    assert scopes.name_of(dict.fromkeys(STREAMS, "shared"), STREAMS) == "custom"


@pytest.mark.parametrize(
    ("coupling", "message"),
    [
        ("shared-sauce", "known couplings: null, independent, shared-source"),
        ({"init": "fixed"}, "no scope for the stream 'source'"),
        (dict.fromkeys([*STREAMS, "weather"], "fixed"), "unknown stream 'weather'.*init, source"),
        (dict.fromkeys(STREAMS, "mine"), "unknown scope 'mine'; known scopes: fixed, client"),
    ],
)
def test_unknown_couplings_streams_and_scopes_list_the_known_ones(coupling, message):
    with pytest.raises(ValueError, match=message):
        scopes.resolve(coupling, STREAMS)


def test_an_unknown_role_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown role 'noise'; known roles: init, source"):
        scopes.resolve("null", {"init": "init", "blur": "noise"})
