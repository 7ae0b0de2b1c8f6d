"""One check in a process of its own: `python -m nfnumpy.verify.project.child REQUEST RESULT`, both files of JSON.

The request is {"kind", "target", "path": folders to import from, "framework", "examples", "options"}; the result
{"verdict", "file", "line"} or {"problem"}.
"""

import dataclasses
import json
import sys
import warnings
from typing import Any

from ...errors import InputError
from ...files import atomic_write
from .. import check
from ..adapters.guarded_call import exits_as_exceptions
from ..options import target_of
from ..snippets import snippet
from ..snippets.place import definition_of


def checked(request: dict[str, Any]) -> dict[str, Any]:
    """The result of a request."""
    sys.path[:0] = request["path"]
    options = request["options"]
    try:
        target = target_of(request["kind"], request["target"], options)
        verdict = check(request["kind"], target, framework=request["framework"], examples=request["examples"],
                        name=request["target"], **options)
    except (InputError, TypeError) as error:  # TypeError: an option that this check does not take
        return {"problem": " ".join(str(error).split())}
    file, line = definition_of(target)
    with_snippet = dataclasses.replace(verdict, snippet=snippet(target, verdict, options))
    return {"verdict": with_snippet.as_json(), "file": file, "line": line}


def main(request: str, result: str) -> None:
    """Read the request, check, write the result."""
    warnings.filterwarnings("ignore")
    with open(request, encoding="utf-8") as file:
        given = json.load(file)
    with exits_as_exceptions():
        found = checked(given)
    atomic_write(result, json.dumps(found, default=str, allow_nan=False).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
