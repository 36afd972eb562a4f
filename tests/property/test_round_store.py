"""The round store behaves like a dictionary, whatever is put, forgotten and reopened."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pnyx.vault import RoundStore

KEY = bytes(range(32))
scopes = st.sampled_from(["round/a/1", "round/a/2", "round/b/1", "chain"])
names = st.sampled_from(["x", "y", "deep/x", "deep/y"])
keys = st.builds("{}/{}".format, scopes, names)
forgets = st.one_of(
    keys,
    scopes,
    st.builds("{}/deep".format, scopes),
    st.sampled_from(["round/a", "round/a/", "round"]),
)


class StoreAndDictionary(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = RoundStore(Path(self.folder.name), KEY)
        self.model = {}

    @rule(
        puts=st.lists(st.tuples(keys, st.binary(max_size=20)), max_size=4),
        prefixes=st.lists(forgets, max_size=2),
    )
    def apply(self, puts, prefixes):
        self.store.apply(puts, prefixes)
        self.model.update(puts)
        for prefix in prefixes:
            below = prefix.rstrip("/") + "/"
            for key in [k for k in self.model if (k + "/").startswith(below)]:
                del self.model[key]

    @rule()
    def restart(self):
        self.store.close()
        self.store = RoundStore(Path(self.folder.name), KEY)

    @invariant()
    def equal(self):
        assert self.store.load() == self.model

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


StoreAndDictionary.TestCase.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None
)
test_round_store = StoreAndDictionary.TestCase
