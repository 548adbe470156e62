"""The harness itself: what is wrong fails, and says where."""

import textwrap
from pathlib import Path

import pytest

from regatta.raft import committed_index
from tests.conformance import quorum
from tests.conformance.__main__ import main
from tests.conformance.describe import quoted
from tests.conformance.grammar import Argument
from tests.conformance.grammar import BadScenario
from tests.conformance.grammar import parse_command
from tests.conformance.grammar import read_directives
from tests.conformance.scenarios import run_file

RIGHT = """
    # Two of three have 5.
    committed cfg=(1,2,3) idx=(5,5,_)
    ----
           idx
    x>       5    (id=1)
    x>       5    (id=2)
    ?        0    (id=3)
    5

    vote cfg=(1) votes=(y)
    ----
    VoteWon
"""
WRONG = RIGHT.replace("VoteWon", "VoteLost")


@pytest.fixture
def scenario(tmp_path):
    """Return a function that writes a scenario file and returns its path."""

    def write(text, name="one.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_what_is_expected_passes(scenario, capsys):
    path = scenario(RIGHT)
    outcome = run_file(path)
    assert (outcome.report, outcome.directive_count, outcome.failed_count) == ("", 2, 0)
    assert main([str(path.parent)]) == 0
    assert capsys.readouterr().out.endswith("1 passed, 0 failed\n")


def test_a_wrong_expectation_fails_with_a_difference(scenario, capsys):
    scenario(RIGHT, "right.txt")
    path = scenario(WRONG, "wrong.txt")
    assert main([str(path.parent)]) == 1
    printed = capsys.readouterr().out
    assert "\n-VoteLost\n+VoteWon\n" in printed
    assert printed.endswith("1 passed, 1 failed\n")


@pytest.mark.parametrize("expected", ["", "VoteWon\nVoteWon", "voteWon", "VoteWon ", " VoteWon"])
def test_not_a_byte_may_differ(scenario, expected):
    path = scenario("vote cfg=(1) votes=(y)\n----\n")
    path.write_text(path.read_text() + expected)
    assert "VoteWon" in run_file(path).report


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("vote\n----\n----\nVoteWon\n----\n----\n", "line 1: output between pairs"),
        ("vote\n----\nVoteWon\n\nfly 1\n----\nok\n", "line 5: unknown command fly"),
        ("fly 1\n----\nok\n", "line 1: unknown command fly"),
        ("campaign 1\n----\nok\n\nvote\n----\nVoteWon\n", "unknown command vote"),
        ("vote cfg=(1\n----\n", "line 1: a parenthesis is not closed"),
        ("vote cfg=(1)2\n----\n", "follows a list at once"),
        ("\n\nvote =1\n----\n", "line 3: nothing is before the ="),
        ("vote=1\n----\n", "does not begin with a command"),
        ("vote cfg=(1)\n", "no ---- follows"),
        ("vote \\", "ends in a continued line"),
        ("# nothing\n", "no directive"),
        ("vote cfg=(a) votes=(y)\n----\nVoteWon\n", "'a' is no number"),
        ("vote cfg=(1) cfg=(2) votes=(y)\n----\nVoteWon\n", "cfg is given twice"),
        ("vote fig=(1) votes=(y)\n----\nVoteWon\n", "only cfg, cfgj and votes are known"),
        ("campaign 1\n----\nok\n", "there is no node 1"),
        ("add-nodes 1\n----\n\npropose 1\n----\nok\n", "propose raised"),
        ("add-nodes 1 prevote=yes\n----\n", "neither true nor false"),
        ("simple sideways=true\n----\n", "simple has no argument sideways"),
    ],
)
def test_a_file_that_asks_for_the_impossible_fails(scenario, text, complaint):
    outcome = run_file(scenario(text))
    assert outcome.failed_count
    assert complaint in outcome.report


def test_a_folder_without_scenarios_fails(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "no scenario" in capsys.readouterr().err


def test_the_suite_is_chosen_by_the_folder_or_else_by_the_first_command(scenario):
    vote = "vote cfg=(1) votes=(y)\n----\nVoteWon\n"
    assert not run_file(scenario(vote, "quorum/a.txt")).report
    assert not run_file(scenario(vote, "anything/a.txt")).report
    assert "unknown command vote" in run_file(scenario(vote, "generated/a.txt")).report
    simple = "simple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=1\n"
    assert not run_file(scenario(simple, "anything/b.txt")).report


def test_each_file_begins_afresh(scenario):
    path = scenario("simple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=1\n")
    assert not run_file(path).report
    assert not run_file(path).report


def test_a_quorum_that_is_computed_wrong_shows_itself(scenario, monkeypatch):
    def lopsided(incoming, outgoing, acknowledged):
        return committed_index(incoming, [], acknowledged)

    monkeypatch.setattr(quorum, "committed_index", lopsided)
    path = scenario("committed cfg=(1) cfgj=(2) idx=(7,3)\n----\n")
    report = run_file(path).report
    assert "+3 <-- via symmetry\n" in report
    assert "+3 <-- via alternative computation\n" in report


def test_input_and_output_end_where_they_should(scenario):
    path = scenario(
        "one a\n  first\n  second \n\n----\nout\n# out, too\n \n# comment\ntwo \\\nb\n----\n"
    )
    one, two = read_directives(Path(path))
    assert (one.line, one.input, one.expected) == (1, "first\n  second", ["out", "# out, too"])
    assert (two.line, two.command, two.words(), two.expected) == (10, "two", ["b"], [])


def test_arguments_of_every_form_are_understood():
    assert parse_command('a b "c" d=e f= g=(h, i j,(k,l)) m=()') == (
        "a",
        [
            Argument("b"),
            Argument('"c"'),
            Argument("d", ("e",)),
            Argument("f", ("",)),
            Argument("g", ("h", "i j", "(k,l)")),
            Argument("m", ()),
        ],
    )


def test_a_list_where_one_value_is_due_is_refused():
    with pytest.raises(BadScenario, match="takes one value"):
        Argument("index", ("1", "2")).value  # noqa: B018


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", '""'),
        (b'say "a\\b"\n\t', '"say \\"a\\\\b\\"\\n\\t"'),
        (b"\x00\x1f\x7f\xff", '"\\x00\\x1f\\x7f\\xff"'),
        ("\a\b\f\r\väß∞".encode(), '"\\a\\b\\f\\r\\väß∞"'),
        ("\u0085\U000e0001".encode(), '"\\u0085\\U000e0001"'),
    ],
)
def test_data_is_quoted_so_that_it_prints(data, text):
    assert quoted(data) == text
