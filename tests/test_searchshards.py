"""Search: files follow from the packages alone, and the browser finds what a plain search finds."""

from __future__ import annotations

import functools
import gzip
import random
import re
from collections import Counter
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from cnrmirror.views.base import Settings
from cnrmirror.views.groups import Edited, Grouped
from cnrmirror.views.search import Search
from cnrmirror.views.searchshards import STOP_WORDS, Shared, Words, shards, words_of
from cnrmirror.views.searchtrie import Scale
from tests.node_search import SCRIPT, searched
from tests.searched import synthetic

Entries = dict[str, Words]
QUERIES = (
    "redis", "nginx ingress", "prom", "kafka operator", "wordpress", "Vault HA", "zookeeper-proxy",
    "grafana dashboards", "external secrets", "cert manager", "certmanager", "jenkins-agent",
    "redis for the cluster", "harbor registry mirror", "keycloak identity", "qqqq", "redis qqqq",
)  # fmt: skip


VIEW = Search(Settings())


def whole(entries: Mapping[str, Words]) -> dict[str, bytes]:
    return dict(shards(Grouped(VIEW, entries), None))


def step(files: dict[str, bytes], before: Entries, after: Entries) -> dict[str, bytes]:
    """The files after a change, made from those before it and from what the change touches."""
    changed = {
        name: (before.get(name), after.get(name)) for name in before.keys() | after.keys()
        if before.get(name) is not after.get(name)
    }  # fmt: skip
    shared = Shared()
    now = Edited(VIEW, Grouped(VIEW, before), changed)
    old = dict(shards(Grouped(VIEW, before), changed, shared))
    new = dict(shards(now, changed, shared))
    assert new == dict(shards(Grouped(VIEW, after), changed)), "nothing of the other side is in it"
    kept = {name: data for name, data in files.items() if name not in old.keys() - new.keys()}
    return kept | new


@functools.cache
def packages(count: int) -> Entries:
    return synthetic(count)


@functools.cache
def files_of(count: int) -> dict[str, bytes]:
    return whole(packages(count))


def plain(entries: Entries, query: str) -> list[str]:
    """The first twenty packages, found by looking at every word of every package."""
    common = {
        word for word, n in Counter(" ".join(w.text for w in entries.values()).split()).items()
        if n > Scale.of(len(entries)).common
    }  # fmt: skip
    typed = re.findall("[a-z0-9]+", query.lower())
    wanted = [word for word in typed if word not in STOP_WORDS]

    def grade(package: str, word: str) -> int | None:
        words, short = entries[package], package.split("/")[1].lower()
        grades = []
        for kind, text in enumerate(words.kinds()):
            for own in text.split():
                if own.startswith(word) and not (kind == 2 and own in common):
                    exact = own == word
                    if kind:
                        grades.append(2 + 2 * kind + (not exact))
                    elif short == word:
                        grades.append(0)
                    else:
                        grades.append((1 if short.startswith(word) else 2) + (not exact))
        return min(grades, default=None)

    found = []
    for package in entries:
        grades = [grade(package, word) for word in wanted]
        sums = [sum(g for g in grades if g is not None)] if None not in grades else []
        joined = grade(package, "".join(wanted)) if len(wanted) > 1 else None
        sums += [] if joined is None else [joined]
        if sums:
            short = package.split("/")[1]
            order = (len(re.split("[-_.]", short)), len(package), package)
            found.append((min(sums), order))
    return [order[2] for _, order in sorted(found)[:20]]


def test_the_browser_finds_what_a_plain_search_finds() -> None:
    entries = packages(10_000)
    *answers, _ = searched(files_of(10_000), QUERIES)
    for query, answer in zip(QUERIES, answers, strict=True):
        assert [row["package"] for row in answer["rows"]] == plain(entries, query), query
        for row in answer["rows"]:
            words = entries[row["package"]]
            assert (row["release"], row["description"]) == (words.release, words.description)
    assert len(answers[0]["rows"]) == 20


def test_a_few_letters_find_the_best_by_name() -> None:
    for query in ("r", "re", "9"):
        answer = searched(files_of(10_000), [query])[0]
        expected = plain(packages(10_000), query)
        assert [row["package"] for row in answer["rows"]] == expected or query == "9"
        assert not answer["failed"]


def test_a_word_that_is_being_typed_narrows_what_the_other_found() -> None:
    rows = searched(files_of(10_000), ["nginx s"])[0]["rows"]
    # By name, those that a plain search finds, though "s" alone finds only the best of many.
    named = [row["package"] for row in rows if re.search("nginx.*-s", row["package"])]
    assert len(named) >= 5
    assert named == [p for p in plain(packages(10_000), "nginx s") if p in named]


def test_no_words_find_nothing_and_load_nothing() -> None:
    for answer in searched(files_of(100), ["", "  ", "!?…", "日本語"])[:-1]:
        assert answer == {"rows": [], "failed": False, "loaded": []}


def test_a_first_query_loads_little() -> None:
    files = files_of(10_000)
    answer = searched(files, ["redis"])[0]
    assert sum(len(gzip.compress(files[name], 6)) for name in answer["loaded"]) <= 20_000
    assert len(gzip.compress(SCRIPT.read_bytes(), 9)) <= 2048


def test_a_file_that_cannot_be_loaded_is_an_empty_answer_and_no_root_is_an_error() -> None:
    files = files_of(10_000)
    used = searched(files, ["redis"])[0]["loaded"]
    lost = next(name for name in used if name.startswith("s-r"))
    redis, vault, _ = searched(files, ["redis", "vault"], [lost])
    assert (redis["rows"], redis["failed"]) == ([], True)
    assert (len(vault["rows"]), vault["failed"]) == (20, False)
    records = [name for name in files if name.startswith("r-")]
    rows = searched(files, ["analytics"], records)[0]["rows"]
    assert len(rows) == 20 and any(row["description"] == "" for row in rows)
    assert searched(files, ["redis"], ["s-.js"])[0]["error"] == "search/s-.js cannot be loaded"


def test_what_a_package_says_stays_data() -> None:
    said = '"]);globalThis.pwned=1;//\u2028</script><script>globalThis.pwned=2</script>\\'
    entries = {
        "evil/constructor": words_of("evil/constructor", '1.0.0"+pwned', said, ["__proto__", said]),
        "evil/toString": words_of("evil/toString", "1.0.0", "${globalThis.pwned=3}", []),
    }
    queries = ["constructor", "tostring", "proto", "hasownproperty", "evil"]
    *answers, pwned = searched(whole(entries), queries)
    assert [len(a["rows"]) for a in answers] == [1, 1, 1, 0, 2]
    assert pwned is None
    assert "\u2028" not in entries["evil/constructor"].description


def test_a_step_makes_what_a_full_build_makes() -> None:
    entries = packages(3000)
    files = whole(entries)
    chance = random.Random(3)
    fresh = synthetic(40, seed=11)
    for package, words in fresh.items():
        after = dict(entries)
        gone = chance.choice(sorted(entries))
        other = chance.choice(sorted(entries))
        old = entries[other]
        after[other] = Words("99.0.0", old.description, old.name, old.keywords, old.text)
        if chance.random() < 0.5:
            after[package] = words
        if gone != other and chance.random() < 0.3:
            del after[gone]
        files = step(files, entries, after)
        entries = after
    assert files == whole(entries)


def test_new_releases_of_many_packages_at_once_make_what_a_full_build_makes() -> None:
    before = packages(3000)
    after = dict(before)
    for name in sorted(before)[::50]:
        old = before[name]
        after[name] = Words("99.0.0", old.description, old.name, old.keywords, old.text)
    assert step(whole(before), before, after) == whole(after)
    changed = {n: (before[n], after[n]) for n in before if before[n] is not after[n]}
    shared = Shared()
    list(shards(Grouped(VIEW, before), changed, shared))
    assert shared.trie is not None, "the words are the same"


def test_a_word_that_goes_from_one_package_to_another_is_not_taken_for_unchanged() -> None:
    one, two = words_of("aa/one", "1", "", ["cache"]), words_of("aa/two", "1", "", [])
    before = {"aa/one": one, "aa/two": two}
    after = {
        "aa/one": words_of("aa/one", "2", "", []), "aa/two": words_of("aa/two", "2", "", ["cache"])
    }  # fmt: skip
    assert step(whole(before), before, after) == whole(after)
    renamed = {"aa/redis_ha": words_of("aa/redis_ha", "1", "", [])}
    former = {"aa/redis-ha": words_of("aa/redis-ha", "1", "", [])}
    assert step(whole(former), former, renamed) == whole(renamed)


def test_a_word_with_a_first_letter_that_no_other_has_comes_and_goes() -> None:
    before = {f"ba/pk{i}": words_of(f"ba/pk{i}", "1", "", []) for i in range(100)}
    after = before | {"ba/one": words_of("ba/one", "1", "", [])}
    assert step(whole(before), before, after) == whole(after)
    assert step(whole(after), after, before) == whole(before)


def test_a_new_release_touches_few_files() -> None:
    entries = packages(10_000)
    package = sorted(entries)[5000]
    old = entries[package]
    new = Words("99.0.0", old.description, old.name, old.keywords, old.text)
    after = {**entries, package: new}
    changed = {package: (old, new)}
    differ = [
        n for n, data in shards(Grouped(VIEW, after), changed) if files_of(10_000).get(n) != data
    ]
    assert 2 <= len(differ) <= 8


STEMS = ("ab", "abc", "abd", "b", "ba", "bab", "con", "aux", "x9")


@st.composite
def stories(draw: st.DrawFn) -> list[Entries]:
    """Mirrors one after another; their words are few, so that many packages share them."""
    chance = random.Random(draw(st.integers(0, 10**9)))
    sizes = draw(st.lists(st.sampled_from([0, 1, 3, 60, 64, 65, 66, 300]), min_size=2, max_size=4))
    made: list[Entries] = []
    entries: Entries = {}
    for size in sizes:
        entries = dict(entries)
        while len(entries) > size:
            del entries[chance.choice(sorted(entries))]
        while len(entries) < size:
            name = "-".join(chance.choices(STEMS, k=chance.randint(1, 4)))
            said = " ".join(chance.choices(STEMS, k=9)) + "é" * chance.randint(0, 90)
            package = f"{chance.choice(STEMS)}/{name}{chance.randint(0, 999)}"
            entries[package] = words_of(package, "1.0.0", said, chance.choices(STEMS, k=2))
        made.append(entries)
    return made


@given(stories())
@settings(max_examples=40, deadline=None)
def test_steps_make_what_a_full_build_makes_when_few_become_many(story: list[Entries]) -> None:
    files, before = whole({}), dict[str, Words]()
    for entries in story:
        files, before = step(files, before, entries), entries
        assert files == whole(entries)


Said = tuple[str, str, tuple[str, ...]]


def _changed(said: dict[str, Said], chance: random.Random) -> dict[str, Said]:
    """One revision later; often with the same words, and as often with words of a new letter."""
    after = dict(said)
    for _ in range(chance.randint(1, 3)):
        one, two = chance.choice(sorted(after)), chance.choice(sorted(after))
        deed = chance.randrange(6)
        if deed == 0:
            (a, b, c), (d, e, f) = after[one], after[two]
            after[one], after[two] = (a, b, f), (d, e, c)
        elif deed == 1:
            (a, b, c), (d, e, f) = after[one], after[two]
            after[one], after[two] = (a, e, c), (d, b, f)
        elif deed == 2:
            after[one.replace("-", "_") if "-" in one else one.replace("_", "-")] = after.pop(one)
        elif deed == 3:
            letter = chance.choice("0123xyz")
            after[f"n/{letter}-{chance.randint(0, 9)}"] = ("1.0.0", chance.choice("qrst") * 2, ())
        elif deed == 4 and len(after) > 2:
            del after[one]
        else:
            after[one] = (f"{chance.randint(2, 9)}.0.0", *after[one][1:])
    return after


@given(st.sampled_from([2, 5, 63, 66, 130, 2047, 2050]), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_words_that_move_between_packages_are_found_where_they_are(
    count: int, chance: random.Random
) -> None:
    said: dict[str, Said] = {
        f"n/{chance.choice('ab')}-{number}": (
            "1.0.0", chance.choice(("aa bb", "ba", "cc")), (chance.choice(("kk", "ka", "b")),)
        )
        for number in range(count)
    }  # fmt: skip
    before = {name: words_of(name, *each) for name, each in said.items()}
    files = whole(before)
    for _ in range(3):
        said = _changed(said, chance)
        fresh = {name: words_of(name, *each) for name, each in said.items()}
        # What did not change is the same value: that is how ``step`` tells what did.
        after = {n: before[n] if before.get(n) == new else new for n, new in fresh.items()}
        files, before = step(files, before, after), after
        assert files == whole(after)


def test_files_split_and_join_where_their_weight_crosses_the_limit() -> None:
    entries = {f"n/abab{i:03}-x": words_of(f"n/abab{i:03}-x", "1.0.0", "", []) for i in range(200)}
    files, seen = whole(entries), set()
    for more in (*range(30), *reversed(range(30))):
        after = dict(entries)
        for i in range(20):
            name = f"n/abab{200 + 20 * more + i}-y"
            if name in after:
                del after[name]
            else:
                after[name] = words_of(name, "1.0.0", "", [])
        files, entries = step(files, entries, after), after
        seen.add(frozenset(files))
    assert files == whole(entries)
    assert len({len(names) for names in seen}) > 3


def test_names_of_files_are_safe_everywhere() -> None:
    for name in files_of(10_000):
        assert re.fullmatch(r"(?:s-[a-z0-9]{0,39}-?|r-[0-9a-f]{0,8})\.js", name)


def test_words_are_found_once_and_joined() -> None:
    words = words_of("Db-Team/Redis_HA.x", "1.0.0", "The redis of a db, fast and x" * 3, ["Fast"])
    assert words.name == "ha redis redishax"
    assert words.keywords == "db fast team"
    assert words.text == "xthe"
    assert words_of("a/" + "b" * 60, "1.0.0", "", []).name == ""


def test_a_mirror_whose_packages_have_no_words_has_the_file_that_pages_ask_for() -> None:
    entries = {"a/x": words_of("a/x", "1", "", [])}
    files = whole(entries)
    assert "s-.js" in files
    one = {"a/word": words_of("a/word", "1", "", [])}
    assert step(files, entries, one) == whole(one)
    assert step(whole(one), one, entries) == files


def test_a_mirror_without_packages_has_the_file_that_pages_ask_for_and_nothing_is_found() -> None:
    files = whole({})
    assert list(files) == ["s-.js"]
    one = packages(1)
    assert step(step(files, {}, one), one, {}) == files
    found, _ = searched(files, ["redis"])
    assert found == {"rows": [], "failed": False, "loaded": ["s-.js"]}
