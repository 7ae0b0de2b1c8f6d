"""The page of verdicts: docs/verdicts.toml is what was found, docs/verdicts.md shows it.

    python -m reference_tests.tools.verdicts                 # write the page's tables
    python -m reference_tests.tools.verdicts --check timm    # run the rows of a package that is installed

Rows of packages that the tests install are checked by reference_tests/verify/test_verdicts_page.py.
"""

import argparse
import importlib.metadata
import re
import tomllib
from pathlib import Path

from nfnumpy.errors import InputError
from nfnumpy.verify import check
from nfnumpy.verify.options import options_of, target_of

ROOT = Path(__file__).parents[2]
DATA, PAGE = ROOT / "docs" / "verdicts.toml", ROOT / "docs" / "verdicts.md"
START, END = "<!-- written by reference_tests/tools/verdicts.py from verdicts.toml -->", "<!-- end of the tables -->"
NO_VERDICT = "no verdict"
EXAMPLES = 0  # drawn beside the fixed input cases; 8 in the runs that filled the table by hand


def packages() -> list[dict]:
    """The packages of the table, each with its rows."""
    return tomllib.loads(DATA.read_text(encoding="utf-8"))["package"]


def found(row: dict, examples: int = EXAMPLES) -> tuple[str, set[str]]:
    """(the outcome, the diagnosis) of a row's check, run now; the outcome is NO_VERDICT where it cannot be run."""
    given = argparse.Namespace(option=row.get("options", []), means=row.get("means", []))
    options = options_of(given)
    try:
        verdict = check(row["kind"], target_of(row["kind"], row["object"], options), examples=examples, **options)
    except InputError:
        return NO_VERDICT, set()
    return str(verdict.outcome), set(verdict.diagnosis)


def stated(row: dict) -> tuple[str, set[str]]:
    """The same as the table says."""
    return row["verdict"], set(row.get("because", ()))


def tables() -> str:
    """The tables of the page, one a package."""
    return "\n\n".join(_table(package) for package in packages())


def _table(package):
    lines = [f"### {package['name']} {package.get('version', '')}".rstrip(), ""]
    if "note" in package:
        lines += [package["note"], ""]
    if package["rows"]:
        lines += ["| kind | object | verdict | what it computes, and where one reads it |", "|---|---|---|---|"]
    for row in package["rows"]:
        flags = [f"--option {option}" for option in row.get("options", ())]
        flags += [f"--means {means}" for means in row.get("means", ())]
        shown = f"`{row['object']}`" + "".join(f" `{flag}`" for flag in flags)
        because = f": {'; '.join(row['because'])}" if row.get("because") else ""
        by_hand = "; run by hand" if row.get("by_hand") else ""
        lines.append(f"| `{row['kind']}` | {shown} | {row['verdict']}{because} | {row['why']}{by_hand} |")
    return "\n".join(lines)


def page() -> str:
    """The page with its tables written again."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(f"{re.escape(START)}.*{re.escape(END)}", lambda match: f"{START}\n\n{tables()}\n\n{END}", text,
                  flags=re.DOTALL)


def main() -> None:
    """Write the page, or run the rows of packages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", nargs="+", metavar="PACKAGE", help="run the rows of these, and say what differs")
    given = parser.parse_args()
    if not given.check:
        PAGE.write_text(page(), encoding="utf-8")
        return
    for package in (package for package in packages() if package["name"] in given.check):
        if "version" in package:
            print(f"{package['name']} {package['version']}; installed: {importlib.metadata.version(package['name'])}")
        for row in package["rows"]:
            now = found(row)
            differs = "" if now == stated(row) else f"   <- the table says {stated(row)}"
            print(f"  {row['kind']} {row['object']}: {now[0]} {sorted(now[1])}{differs}", flush=True)


if __name__ == "__main__":
    main()
