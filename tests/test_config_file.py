"""The configuration file in all of its forms, and which source of settings counts most."""

import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import lists
from hypothesis.strategies import sampled_from
from hypothesis.strategies import text

from regatta.config import FLAGS
from regatta.config import Settings
from regatta.config import load
from regatta.config_file import find_file
from regatta.config_file import known_flags
from regatta.config_file import read_file
from regatta.config_forms import FORMS
from regatta.environment import names_of
from regatta.environment import read_environment
from regatta.errors import StartError
from regatta.flags import Address
from regatta.flags import Flag
from regatta.flags import Given
from regatta.flags import settle_flag

fuzz_examples = int(os.environ.get("REGATTA_FUZZ_EXAMPLES", "40"))  # of each form

ALL_SAY_THE_SAME = {
    "yaml": """
        # the whole tree
        dev-mode: true
        api: {address: "http://a:1"}
        kafka:
          timeout: 1m
          group-id: 010
          brokers: [a:1, b:2]
          client-key-filename:
        raft:
          address: 127.0.0.1:5012
          node-id: 2
          initial-members:
            1: 127.0.0.1:5013
            2: 127.0.0.1:5012
    """,
    "json": """{
        "dev-mode": true, "api": {"address": "http://a:1"},
        "kafka": {"timeout": "1m", "group-id": "010", "brokers": ["a:1", "b:2"],
                  "client-key-filename": null},
        "raft": {"address": "127.0.0.1:5012", "node-id": 2,
                 "initial-members": {"1": "127.0.0.1:5013", "2": "127.0.0.1:5012"}}
    }""",
    "toml": """
        dev-mode = true
        api.address = "http://a:1"
        [kafka]
        timeout = "1m"
        group-id = "010"
        brokers = ["a:1", "b:2"]
        [raft]
        address = "127.0.0.1:5012"
        node-id = 2
        [raft.initial-members]
        1 = "127.0.0.1:5013"
        2 = "127.0.0.1:5012"
    """,
    "properties": r"""
        ! the whole tree
        dev-mode true
        api.address = http\://a:1
        kafka.timeout: 1m
        kafka.group-id=01\u0030
        kafka.brokers = a:1, \
            b:2
        raft.address=127.0.0.1:5012
        raft.node-id=2
        raft.initial-members=1=127.0.0.1:5013,2=127.0.0.1:5012
    """,
    "ini": """
        dev-mode = true
        [api]
        address = "http://a:1"  ; no TLS
        [kafka]
        timeout: 1m
        group-id = '010'
        brokers = a:1 b:2 # two
        [raft]
        address = 127.0.0.1:5012
        node-id = 2
        [raft.initial-members]
        1 = 127.0.0.1:5013
        2 = 127.0.0.1:5012
    """,
    "env": """
        # all three forms of a name
        export REGATTA_DEV_MODE=true
        api.address=http://a:1
        KAFKA_TIMEOUT='1m'
        KAFKA_GROUP_ID="010" # a text
        KAFKA.BROKERS=a:1,b:2
        raft_address=127.0.0.1:5012
        RAFT_NODE_ID=2
        RAFT_INITIAL_MEMBERS="1=127.0.0.1:5013 2=127.0.0.1:5012"
    """,
}


def written(directory: Path, form: str, text: str) -> Path:
    """Return a file with *text*, free of the indent that it has in this module."""
    path = directory / f"config.{form}"
    path.write_text("\n".join(line.removeprefix("        ") for line in text.split("\n")))
    return path


def settings_of(path: Path) -> Settings:
    source, warnings = read_file(FLAGS, path)
    return load(source, warnings=warnings)


def refusal(path: Path) -> StartError:
    """Return the error that reading the settings in a file meets."""
    with pytest.raises(StartError) as caught:
        settings_of(path)
    assert caught.value.usage
    assert caught.value.remedy
    assert "\n" not in f"{caught.value}{caught.value.remedy}"
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("form", ALL_SAY_THE_SAME)
def test_every_form_says_the_same(tmp_path: Path, form: str) -> None:
    source, warnings = read_file(FLAGS, written(tmp_path, form, ALL_SAY_THE_SAME[form]))
    values = FLAGS.settle(source)
    assert warnings == []
    assert str(values["api.address"]) == "http://a:1"
    assert (values["dev-mode"], values["kafka.timeout"]) == (True, 60.0)
    assert (values["kafka.group-id"], values["kafka.brokers"]) == ("010", ("a:1", "b:2"))
    assert (values["raft.address"], values["raft.node-id"]) == (Address("127.0.0.1", 5012), 2)
    members = ((1, Address("127.0.0.1", 5013)), (2, Address("127.0.0.1", 5012)))
    assert values["raft.initial-members"] == members
    assert set(source) == {
        *("dev-mode", "api.address", "kafka.timeout", "kafka.group-id", "kafka.brokers"),
        *("raft.address", "raft.node-id", "raft.initial-members"),
    }


# Three values of each kind, for the command line, the environment and the file.
SAMPLES = {
    "bool": ["true", "false", "true"],
    "string": ["one", "two", "three"],
    "path": ["/one", "/two", "/three"],
    "uint": ["1", "2", "3"],
    "duration": ["1s", "2m", "3h"],
    "host:port": ["a:1", "b:2", "c:3"],
    "address": ["a:1", "http://b:2", "unix:///c"],
    "strings": ["a,b", "c", "d,e"],
    "id=host:port,…": ["1=a:1", "2=b:2,3=c:3", "4=d:4"],
    "URL": ["http://a:1", "http://b:2", "http://c:3"],
    "key=value": ["a=b", "c=d=e", "f="],
}
SOURCES = ("flag", "environment", "file", "default")


@pytest.mark.parametrize("flag", known_flags(FLAGS).values(), ids=known_flags(FLAGS))
def test_a_flag_counts_more_than_the_environment_that_more_than_the_file(
    tmp_path: Path, flag: Flag
) -> None:
    texts = dict(zip(SOURCES, [*SAMPLES[flag.kind.name], flag.default], strict=True))
    path = written(tmp_path, "yaml", f'{flag.name}: "{texts["file"]}"')
    sources = {
        "flag": FLAGS.read([f"--{flag.name}={texts['flag']}"])[0],
        "environment": read_environment(FLAGS, {names_of(flag)[0]: texts["environment"]})[0],
        "file": read_file(FLAGS, path)[0],
        "default": {},
    }
    for count in (1, 2, 3):
        for present in combinations(SOURCES, count):
            found = FLAGS.settle(*(sources[name] for name in present))[flag.name]
            text = texts[present[0]]
            assert found == settle_flag(flag, Given([text], "")), present


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("yaml", "kafka: {property: {a.b: '1, 2', c: d=e}}"),
        ("yaml", "kafka: {property: {a: {b: '1, 2'}, c: d=e}}"),
        ("yaml", "kafka: {property: ['a.b=1, 2', c=d=e]}"),
        ("yaml", "kafka:\n  property: |\n    a.b=1, 2\n    c=d=e"),
        ("json", '{"kafka": {"property": {"a.b": "1, 2", "c": "d=e"}}}'),
        ("toml", '[kafka.property]\n"a.b" = "1, 2"\nc = "d=e"'),
        ("properties", "kafka.property.a.b=1, 2\nkafka.property.c=d=e"),
        ("properties", "kafka.property=a.b=1, 2\\nc=d=e"),
        ("ini", "[kafka.property]\na.b = 1, 2\nc = d=e"),
    ],
)
def test_properties_of_kafka_are_a_map_or_a_list(tmp_path: Path, form: str, text: str) -> None:
    found = settings_of(written(tmp_path, form, text))
    assert found.kafka.properties == {"a.b": "1, 2", "c": "d=e"}
    assert found.warnings == ()


def test_a_property_in_a_file_of_variables_stands_between_white_space(tmp_path: Path) -> None:
    found = settings_of(written(tmp_path, "env", 'KAFKA_PROPERTY="a.b=1,2 c=d=e"'))
    assert found.kafka.properties == {"a.b": "1,2", "c": "d=e"}


def test_numbers_and_truths_in_a_map_of_properties_become_texts(tmp_path: Path) -> None:
    text = '{"kafka.property": {"session.timeout.ms": 9000, "check.crcs": true}}'
    found = settings_of(written(tmp_path, "json", text))
    assert found.kafka.properties == {"session.timeout.ms": "9000", "check.crcs": "true"}


def test_lists_of_different_sources_do_not_add_up(tmp_path: Path) -> None:
    file, _ = read_file(FLAGS, written(tmp_path, "yaml", "kafka: {brokers: [c:3, d:4]}"))
    flag, _ = FLAGS.read(["--kafka.brokers=a:1", "--kafka.brokers=b:2"])
    assert load(flag, file).kafka.brokers == (Address("a", 1), Address("b", 2))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("Raft:\n  Node-ID: 7", "raft.node-id", 7),
        ("raft.node-id: 7", "raft.node-id", 7),
        ("raft: {initial-members: [1=a:1]}", "raft.initial-members", ((1, Address("a", 1)),)),
        ("raft: {initial-members: '1=a:1'}", "raft.initial-members", ((1, Address("a", 1)),)),
        ("kafka: {topics: [2024-01-01, 1:30, no, 1e3]}", "kafka.topics", "2024-01-01 1:30 no 1e3"),
        ("kafka: {topics: a b}", "kafka.topics", "a b"),
        ("raft: {wal-dir: ''}\nkafka: {topics: []}", "raft.wal-dir", ""),
        ("raft:\n  # address: a:1\nkafka: ~", "raft.wal-dir", ""),
        ("", "raft.wal-dir", ""),
        ("\ufeffraft: {wal-dir: /a}", "raft.wal-dir", "/a"),
    ],
)
def test_yaml_is_read_as_it_is_meant(tmp_path: Path, text: str, key: str, value: Any) -> None:
    source, warnings = read_file(FLAGS, written(tmp_path, "yaml", text))
    found = FLAGS.settle(source)[key]
    assert found == (tuple(value.split()) if key == "kafka.topics" else value)
    assert warnings == []


def test_unknown_keys_are_warned_of_with_the_nearest_known_one(tmp_path: Path) -> None:
    text = "raft: {adress: a:1, wal-dir: /a}\nzzz: {yyy: 1}\nconfig: b"
    assert settings_of(written(tmp_path, "yaml", text)).warnings == (
        f'unknown key "raft.adress" in {tmp_path}/config.yaml: did you mean raft.address?',
        f'unknown key "zzz.yyy" in {tmp_path}/config.yaml',
        f'unknown key "config" in {tmp_path}/config.yaml',
    )
    text = "REGATTA_RAFT_ADRESS=a:1\nRAFT_WAL_DIR=/a"
    assert settings_of(written(tmp_path, "env", text)).warnings == (
        f'unknown key "REGATTA_RAFT_ADRESS" in {tmp_path}/config.env: '
        "did you mean REGATTA_RAFT_ADDRESS?",
    )


def test_a_foreign_file_is_not_warned_of_without_end(tmp_path: Path) -> None:
    text = "\n".join(f"xyz{number}: 1" for number in range(1000))
    warnings = settings_of(written(tmp_path, "yaml", text)).warnings
    assert len(warnings) == 11
    assert warnings[-1] == f"990 more unknown keys in {tmp_path}/config.yaml"


@pytest.mark.parametrize(
    ("form", "text", "problem"),
    [
        ("yaml", "raft: {node-id: x}", 'raft.node-id in PATH: "x" is not a whole number below'),
        ("yaml", "raft: {node-id: 0}", "raft.node-id in PATH must not be 0"),
        ("yaml", "raft: {node-id: 0x}", 'raft.node-id in PATH: "0x" is not a whole number'),
        ("yaml", "raft: {node-id: [1]}", "raft.node-id in PATH: a list is not a whole number"),
        ("yaml", "raft: {node-id: {a: 1}}", "raft.node-id in PATH: a map is not a whole number"),
        ("yaml", 'raft: {wal-dir: "a\\0b"}', 'raft.wal-dir in PATH: "a\\u0000b" is not a path'),
        ("json", '{"raft.wal-dir": "\\ud800"}', 'raft.wal-dir in PATH: "\ud800" is not a path'),
        ("yaml", "kafka: {topics: [[a]]}", "kafka.topics in PATH: a list of lists or maps is not"),
        ("yaml", "raft: {initial-members: {1: [a]}}", "raft.initial-members in PATH: a list is"),
        ("yaml", "raft: {initial-members: {1: a}}", 'raft.initial-members in PATH: "1=a" is not'),
        ("yaml", "log-level: loud", 'log-level in PATH: unknown level "loud"'),
        ("yaml", "raft.node-id: 1\nraft: {node-id: 2}", '"raft.node-id" is there twice in PATH'),
        ("yaml", "raft: {node-id: 1}\nraft: {}", "PATH is not yaml: the key raft is there twice"),
        ("yaml", "a: [1", "PATH is not yaml: expected ',' or ']', but got '<stream end>' (line 1)"),
        ("yaml", "a: *b", "PATH is not yaml: found undefined alias"),
        ("yaml", "raft: !!python/object:os.system {node-id: 0}", "raft.node-id in PATH must not"),
        ("yaml", "raft: &a [*a]", "PATH is not yaml: found unconstructable recursive node"),
        ("yaml", "? [a]\n: 1", "PATH is not yaml: a key is no text (line 1)"),
        ("yaml", "- a", "PATH is not yaml: it holds no keys"),
        ("yaml", "a: 1\n---\nb: 1", "PATH is not yaml: but found another document (line 2)"),
        ("yaml", "a: \x01", "PATH is not yaml: unacceptable character"),
        ("yaml", "[" * 1_000, "PATH is not yaml: it is nested too deeply"),
        ("json", "[" * 100_000, "PATH is not json: it is nested too deeply"),
        ("json", '{"a": 1,}', "PATH is not json: "),
        ("json", '{"a": 1, "a": 2}', "PATH is not json: the key a is there twice"),
        ("json", "3", "PATH is not json: it holds no keys"),
        ("json", "", "PATH is not json: Expecting value: line 1 column 1"),
        ("toml", "a = ", "PATH is not toml: Invalid value (at "),
        ("toml", "a = 1\na = 2", "PATH is not toml: Cannot overwrite a value"),
        ("toml", "raft.node-id = " + "1" * 5000, "PATH is not toml: Exceeds the limit"),
        ("ini", "[raft", "PATH is not ini: a section's name ends with ] (line 1)"),
        ("ini", "[raft]\nnode-id", "PATH is not ini: this is no key with a value (line 2)"),
        ("ini", "a = 'b", "PATH is not ini: a quote is not closed (line 1)"),
        ("ini", "a = 1\na = 2", "PATH is not ini: the key a is there twice"),
        ("ini", "[raft]\nnode-id = 0", "raft.node-id in PATH must not be 0"),
        ("env", "RAFT_NODE_ID=0", "RAFT_NODE_ID in PATH must not be 0"),
        ("env", "A", "PATH is not env: this is no key with a value (line 1)"),
        ("properties", "raft.node-id = 0", "raft.node-id in PATH must not be 0"),
        ("properties", "= 0", "PATH is not properties: this is no key with a value (line 1)"),
        ("hcl", 'raft { address = "a:1" }', "PATH: this form of file is not read"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, form: str, text: str, problem: str) -> None:
    path = written(tmp_path, form, text)
    assert str(refusal(path)).startswith(problem.replace("PATH", str(path)))


WORDS = (
    *("raft", "node-id", "kafka.topics", "raft.initial-members", "RAFT_NODE_ID", "config"),
    *("\n", "  ", ": ", "=", "[", "]", "{", "}", ",", "#", "'", '"', "\\", "- ", "&a ", "*a"),
    *("<<", "|", "1", "true", "null", "~", "2024-01-01", ".inf", "0x1", "\0", "\ud7ff", "\\u0000"),
    *("!!int ", "1=a:1"),
)


@pytest.mark.parametrize("form", FORMS)
def test_no_text_is_too_strange(tmp_path_factory: pytest.TempPathFactory, form: str) -> None:
    path = tmp_path_factory.mktemp("strange") / f"config.{form}"

    @settings(max_examples=fuzz_examples, deadline=None, database=None)
    @given(lists(sampled_from(WORDS) | text(max_size=3), max_size=25).map("".join))
    def makes_settings_or_one_line(content: str) -> None:
        path.write_bytes(content.encode(errors="surrogatepass"))
        problem = ""
        try:
            settings_of(path)
        except StartError as error:
            problem = f"{error}{error.remedy}"
        assert "\n" not in problem

    makes_settings_or_one_line()


def test_files_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    assert "No such file or directory" in str(refusal(tmp_path / "none.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    assert "Is a directory" in str(refusal(tmp_path / "folder.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"raft: {wal-dir: \xe9}")
    assert "is not text in UTF-8" in str(refusal(tmp_path / "latin.yaml"))
    (tmp_path / "large.yaml").write_text("#" * (1 << 20) + "#")
    assert "larger than 1 MiB" in str(refusal(tmp_path / "large.yaml"))
    error = refusal(tmp_path / "plain")
    assert error.remedy == "Write it as yaml, yml, json, toml, properties, ini or env."


def test_the_first_file_of_the_search_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    (home / ".regatta").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    environment = {"HOME": str(home)}
    assert find_file(environment) is None
    expected: Path | None = None
    for path in (
        Path("config.env"),
        Path("config.yml"),
        Path("config.yaml"),
        home / ".regatta/config.ini",
        home / ".regatta/config.hcl",
        home / ".regatta/config.json",
    ):
        path.touch()
        expected = path
        assert find_file(environment) == expected
    assert find_file({}) == Path("config.yaml")
    Path("config.yaml").unlink()
    Path("config.yaml").mkdir()
    assert find_file({}) == Path("config.yml")
