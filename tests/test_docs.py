"""The documents keep up with the code."""

from pathlib import Path

from regatta.config import FLAGS
from regatta.flags import BOOL
from regatta.flags import Flag

ROOT = Path(__file__).parents[1]


def row(flag: Flag) -> str:
    """Return a flag's row in docs/configuration.md."""
    default = "false" if flag.kind is BOOL else f"`{flag.default}`" if flag.default else ""
    return f"| `--{flag.name}` | {flag.kind.name} | {default} | {flag.help} |"


def test_configuration_lists_every_flag_as_it_is() -> None:
    lines = (ROOT / "docs/configuration.md").read_text().splitlines()
    listed = [line for line in lines if line.startswith("| `--")]
    assert listed == [row(flag) for flag in FLAGS.by_name.values()]
