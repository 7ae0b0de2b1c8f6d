"""Write reference_tests/weights/timm_names.json: which names and shapes timm's networks have.

    python reference_tests/tools/freeze_timm_names.py

It needs timm, installed as docs/weights.md describes. For each network the file has timm's name of it, the number of
arrays and of parameters, and a digest of all names with their shapes, in alphabetical order. Our networks' arrays,
renamed, must give the same digest.
"""

import hashlib
import json
import math
from pathlib import Path

import against_timm
import torch

FILE = Path(__file__).parents[1] / "weights" / "timm_names.json"


def digest(shapes):
    """Of {name: shape}."""
    lines = "\n".join(f"{name} {','.join(map(str, shapes[name]))}" for name in sorted(shapes))
    return hashlib.sha256(lines.encode()).hexdigest()


def facts(name):
    """What the file has about the network that timm calls `name`."""
    with torch.device("meta"):
        model = against_timm.timm.create_model(name)
    shapes = {key: tuple(array.shape) for key, array in model.state_dict().items()}
    parameters = sum(math.prod(parameter.shape) for parameter in model.parameters())
    return {"timm": name, "arrays": len(shapes), "parameters": parameters, "sha256": digest(shapes)}


if __name__ == "__main__":
    baselines = against_timm.against_timm_baselines
    entries = {name: facts(baselines.THEIRS.get(name, name)) for name in baselines.NAMES}
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    FILE.write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")
