"""The package, its tests and its pages use the field's words; words that only this project used do not come back."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
THIS = Path(__file__).resolve()
WORDS = {  # what is not written: what is written instead
    r"ways? back": "backward pass",
    r"go(es|ing)? back through": "backward pass through",
    r"whoever|nobody|somebody": "the object that acts: caller, thread, process",
    r"crew": "thread pool",
    r"lattices?": "output phases of a strided convolution",
    r"climb(s|ed|ing)?": "SAM ascent; rise",
    r"twins?": "port",
    r"likeliest": "most likely",
    r"(holds?|held|holding) (it |them |[a-z]+ )?(against|to its formula)": "compare with",
    r"one after the other|side by side": "sequential, parallel",
    r"(the|this|our) house": "the package, the architecture",
    r"rooms?": "area; buffer",
    r"contestants?": "implementation",
    r"mends?": "fix",
    r"taken for": "identified as",
    r"speaks? to": "configure, call",
    r"sleepers?|patience|called off": "idle workers, spin iterations, cancelled",
    r"fewer products": "Winograd",
}
NAMES = (  # identifiers and files of the past
    "fast_walk|whole_files|write_whole|in_parallel|in_order|quick_turns|short_buffers|from_last_to_first|read_later|"
    "window_rows|shifted_rows|whole_models|pickle_machine|factor_of_norms|suited_to|block_plan|is_closed|input_side|"
    "fed_network|gpu_bars|small_steps|torch_twins|mistaken_twins|correct_twins|Randomness\\(|_Crew|_Lease|_Job|_Tasks|"
    "trial_of|evaluation_of|models.model_of|on_first_use|G::pull|Wide<")


def texts():
    """(path, text) of every file that people read: code, kernels, tests, pages."""
    for top in ("nfnumpy", "reference_tests", "docs", "data"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".py", ".cu", ".cuh", ".h", ".md") and path.resolve() != THIS:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
    yield Path("README.md"), (ROOT / "README.md").read_text(encoding="utf-8")


def test_private_words_do_not_come_back():
    pattern = re.compile(r"(?<![A-Za-z_])((?i:" + "|".join(WORDS) + ")|" + NAMES + r")(?![A-Za-z_])")
    found = []
    for path, text in texts():
        joined = re.sub(r"\s*\n\s*(?:# |// )?", lambda gap: "\n", text)  # a phrase may go on in the next line
        for match in pattern.finditer(joined.replace("\n", " ")):
            found.append(f"{path}:{joined.count(chr(10), 0, match.start()) + 1}: {match[0]}")
    assert not found, "\n".join(found)
