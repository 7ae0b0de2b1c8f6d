"""`python -m nfnumpy.weights`: carry weights between nfnumpy, timm and the authors' files, and networks to ONNX."""

import argparse
import dataclasses
import importlib.util
import json
from typing import Any

from ..cli import Parser, printable, run
from ..datasets.preprocessing import NORMALIZATIONS, Normalization
from ..errors import InputError
from ..files import check_writable
from ..models import ImageClassifier
from ..training import Classifier, load_classifier
from .conversion import GAINS, SCHEMES, check_target, convert, described
from .onnx_export import OnnxOptions, compare_with_onnxruntime, onnx_model, save_onnx

EXAMPLE = """example:
  python -m nfnumpy.weights convert F0_haiku.npz nfnet_f0.safetensors --to nfnumpy
  python -m nfnumpy.weights export runs/digits/checkpoint.safetensors digits.onnx
reads safetensors (nfnumpy's, timm's), PyTorch's .pth and the authors' pickles, recognized by content;
convert writes safetensors for nfnumpy and timm, a pickle for haiku"""
CONVERT = "write weights under the names of another implementation"
EXPORT = "write a network as an ONNX file"
SOURCE = "a file of weights, or a checkpoint that nfnumpy.train wrote"
RUNTIME = "onnxruntime is not installed (pip install onnxruntime)"


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.weights", epilog=EXAMPLE,
               description="Carry weights between nfnumpy, timm and the authors' files, and networks to ONNX.")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_convert(commands.add_parser("convert", help=CONVERT, description=CONVERT, epilog=EXAMPLE))
    _add_export(commands.add_parser("export", help=EXPORT, description=EXPORT, epilog=EXAMPLE))
    return p


def _add_convert(p: argparse.ArgumentParser) -> None:
    p.add_argument("source", metavar="IN", help=SOURCE)
    p.add_argument("target", metavar="OUT", help="the file to write; an existing one is replaced at the end")
    p.add_argument("--to", required=True, choices=SCHEMES, help="the names and the layout to write")
    p.add_argument("--gains", choices=GAINS,
                   help="for timm: exact: changed so that timm, which adds 1e-5 to the weights' variance, computes the "
                        "same function; as-stored: only renamed (default: exact)")


def _add_export(p: argparse.ArgumentParser) -> None:
    p.add_argument("source", metavar="MODEL", help=SOURCE)
    p.add_argument("target", metavar="OUT", help="the .onnx file to write; an existing one is replaced at the end")
    p.add_argument("--raw", action="store_true", help="of a checkpoint, the last weights instead of the averaged ones")
    p.add_argument("--image-size", type=int, metavar="PX", help="side of the images; default: the model's test size")
    p.add_argument("--batch", default="dynamic", metavar="N", help="number of images, or dynamic (default: dynamic)")
    p.add_argument("--uint8", choices=("on", "off"), default="off",
                   help="on: the input is uint8 images, normalized inside; off: normalized float32 (default: off)")
    p.add_argument("--normalization", choices=tuple(NORMALIZATIONS),
                   help="means and deviations of colors that the weights were trained with; default: imagenet, of "
                        "published weights of Inception v3 inception")
    p.add_argument("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="of the input (default: NCHW)")
    p.add_argument("--softmax", choices=("on", "off"), default="off",
                   help="on: probabilities are a second output (default: off)")
    p.add_argument("--opset", type=int, default=OnnxOptions.opset, metavar="V",
                   help=f"version of ONNX's operators (default: {OnnxOptions.opset})")
    p.add_argument("--check", choices=("on", "off"),
                   help="whether onnxruntime has to compute the same logits (default: on, if it is installed)")


def main(arguments: list[str]) -> int:
    """Convert or export, and print what was written."""
    given = parser().parse_args(arguments)
    lines = _convert(given) if given.command == "convert" else _export(given)
    print("\n".join(map(printable, lines)))
    return 0


def _convert(given: argparse.Namespace) -> list[str]:
    """Convert; lines that say what was written."""
    if given.gains is not None and given.to != "timm":
        raise InputError(f"--gains {given.gains}: only --to timm changes gains, got --to {given.to}")
    return convert(given.source, given.target, given.to, given.gains or "exact")


def _export(given: argparse.Namespace) -> list[str]:
    """Export; lines that say what was written and what was compared."""
    check_target(given.source, given.target, "onnx")
    check_writable("OUT", given.target)
    if given.check == "on" and importlib.util.find_spec("onnxruntime") is None:
        raise InputError(f"--check on: {RUNTIME}")
    batch = None if given.batch == "dynamic" else _batch(given.batch)
    classifier = load_classifier(given.source, averaged=not given.raw)
    classifier.check_weights()
    classifier = classifier.with_normalization(given.normalization)
    if given.image_size is not None:
        classifier = classifier.with_image_size(given.image_size)
    options = OnnxOptions(classifier.transform.image_size, batch, given.uint8 == "on", given.layout,
                          given.softmax == "on", given.opset, _name_of(classifier.normalization))
    model = classifier.model
    proto = onnx_model(model, options, _metadata(classifier, options))
    compared = "not compared: --check off" if given.check == "off" else _comparison(model, proto, options)
    save_onnx(given.target, proto)
    shape = ", ".join(map(str, options.input_shape(model.config.in_channels)))
    kind = "uint8" if options.uint8 else "normalized float32"
    written = f"{given.target}: {described(model.state_dict())}, opset {options.opset}; images ({shape}) of {kind}"
    return [written, compared]


def _comparison(model: ImageClassifier, proto: Any, options: OnnxOptions) -> str:
    """A line about the comparison with onnxruntime, which must succeed where that is installed."""
    found = compare_with_onnxruntime(model, proto, options)
    if found is None:
        return f"not compared: {RUNTIME}"
    return (f"compared with nfnumpy in float64: logits of onnxruntime {found.runtime} differ by {found.exported:.1e} "
            f"of the largest, nfnumpy's in float32 by {found.own:.1e}")


def _batch(text: str) -> int:
    """--batch as a number."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 2**20:
        raise InputError(f"--batch {text}: expected dynamic or a whole number from 1 to {2**20}")
    return int(text)


def _name_of(normalization: Normalization) -> str:
    """The name of a normalization in NORMALIZATIONS."""
    return next(name for name, one in NORMALIZATIONS.items() if one == normalization)


def _metadata(classifier: Classifier, options: OnnxOptions) -> dict[str, str]:
    """What a user of the exported file needs to know, each entry as JSON."""
    config = classifier.model.config
    preprocessing = {**classifier.transform._asdict(), "input": "uint8" if options.uint8 else "float32",
                     "layout": options.layout, **classifier.normalization._asdict()}
    facts = {"classes": classifier.classes, "preprocessing": preprocessing,
             "network": {"family": type(classifier.model).__name__, **dataclasses.asdict(config)}}
    return {name: json.dumps(fact) for name, fact in facts.items()}


if __name__ == "__main__":
    run(main)
