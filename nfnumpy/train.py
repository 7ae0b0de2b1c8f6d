"""`python -m nfnumpy.train`: train a network on images."""

import argparse
from collections.abc import Callable
from typing import Any

from . import models
from .cli import Parser, run
from .errors import InputError
from .nn import NORMS
from .training import TrainingOptions, recipes, train
from .training.config_file import read_config
from .training.find_lr import find_lr
from .training.flag_types import JoinedByCommas, duration_or_off, int_or_off, number_or_off, text_or_off

EXAMPLE = """example:
  python -m nfnumpy.train --data folder:pictures --model nfnet_32px --epochs 10 --agc 0.02 --sam 0.05
writes runs/pictures/{checkpoint.safetensors, metrics.jsonl, config.toml, curves.png}"""


def parser() -> Parser:
    """The flags; those not given are absent from the result, so that a resumed run knows which were given."""
    p = Parser(prog="python -m nfnumpy.train", epilog=EXAMPLE, argument_default=argparse.SUPPRESS,
               description="Train a network on images, normalizer-free or with normalizations.")

    def add(flag: str, meaning: str, convert: Callable[[str], object] = str, **more: Any) -> None:
        default = getattr(TrainingOptions, flag[2:].replace("-", "_"))
        if default is None and convert in (number_or_off, int_or_off, text_or_off, duration_or_off):
            default = "off"
        if default is not None:
            meaning = f"{meaning} (default: {default})"
        p.add_argument(flag, type=convert, help=meaning, **more)

    add("--backend", "numpy or cupy", metavar="NAME")
    add("--model", f"a variant such as {', '.join(models.names()[-6:])}; default: one that suits the images' size",
        metavar="NAME")
    add("--norm", f"the normalization of networks that have one, {', '.join(NORMS)}; default: the variant's",
        metavar="NAME")
    add("--init-from", "a file of weights to start from: a checkpoint, safetensors, PyTorch's .pth, or the authors' "
        "pickles; it decides the model", metavar="FILE")
    add("--init-weights", "averaged or last: which weights of a checkpoint --init-from takes", metavar="WHICH")
    add("--freeze", "parameters that stay as they are, such as 'stem*,blocks.0.*'", action=JoinedByCommas,
        metavar="PATTERN")
    add("--lr-scale", "learning rate factor of some parameters, such as 'blocks.*=0.1'", action=JoinedByCommas,
        metavar="PATTERN=FACTOR")
    add("--data", "digits, idx:DIR (MNIST's files), folder:DIR (train/CLASS/*.png|jpg, test/ or val/) or "
        "shards:DIR, shards:PATH/train-{000..146}.tar (WebDataset's tar files)", metavar="SPEC")
    add("--test-share", "share of every class of a folder or of shards that is drawn to test on, such as 0.1; default: "
        "none, there are test pictures", float, metavar="SHARE")
    add("--image-size", "side of the images in pixels; default: the model's, or as the data suggests", int,
        metavar="PX")
    add("--test-size", "side of the test images in pixels; default: that of the training images", int, metavar="PX")
    add("--eval-resize", "how test images become square: shorter-side, or squash, which changes their proportions, as "
        "the papers have it; both with a margin that is cut off; off: shorter side, no margin", text_or_off,
        metavar="NAME")
    add("--eval-margin", "how many pixels more than the image size --eval-resize resizes to; default: 32 from 192 "
        "pixels up, 0 below", int, metavar="PX")
    add("--decoder", "pillow; or draft or simplejpeg, which decode large JPEGs at 1/2, 1/4 or 1/8 of their size: "
        "faster, but other pixels", metavar="NAME")
    add("--on-bad-image", "error, or skip: leave out pictures that cannot be read, and list them in bad_images.txt",
        metavar="NAME")
    add("--loader", "threads, or process: decode images in a process of its own; the same images", metavar="NAME")
    add("--augment", "none, flip-shift (small pictures), flip-crop, nfnet (flip-crop and RandAugment as the variant is "
        "trained in the paper), timm (its crop and flip), or timm:STRING, such as timm:rand-m9-mstd0.5-inc1",
        metavar="NAME")
    add("--color-jitter", "how far brightness, contrast and saturation change, such as 0.4, or off", number_or_off,
        metavar="STRENGTH")
    add("--erase", "probability with which a rectangle of an image is erased, or off", number_or_off, metavar="P")
    add("--erase-mode", "const (the mean colour), rand (a random colour) or pixel (random pixels)", metavar="MODE")
    add("--mixup", "alpha of MixUp's ratio, 0.2 in the papers, or off", number_or_off, metavar="ALPHA")
    add("--cutmix", "alpha of CutMix's ratio, 1 in the papers, or off", number_or_off, metavar="ALPHA")
    add("--mixing", "released (each example has a partner of its own) or timm (batches are mixed with themselves)",
        metavar="FORM")
    add("--augment-before-mix", "on or off: RandAugment before mixing; auto: off if released, on in timm's form",
        metavar="NAME")
    add("--mixup-off-epoch", "epochs after which images are no longer mixed, or off", int_or_off, metavar="N")
    add("--epochs", "passes over the training images", int, metavar="N")
    add("--batch-size", "images a step", int, metavar="B")
    add("--lr", "peak learning rate", float, metavar="LR")
    add("--warmup-epochs", "epochs in which the learning rate rises from 0", float, metavar="N")
    add("--schedule", "how the learning rate falls: cosine (to 0), exponential or step", metavar="NAME")
    add("--decay-rate", "what exponential and step multiply the learning rate by; default: 0.97 and 0.1", float,
        metavar="FACTOR")
    add("--decay-epochs", "epochs after which exponential multiplies it, again and again", float, metavar="N")
    add("--decay-milestones", "epochs after which step multiplies it, such as 30,60,80; default: a third, two thirds "
        "and eight ninths of the run", metavar="EPOCHS")
    add("--optimizer", "sgd, or rmsprop in TensorFlow's form", metavar="NAME")
    add("--rmsprop-decay", "decay of RMSProp's mean square of the gradients", float, metavar="D")
    add("--rmsprop-epsilon", "what RMSProp adds to the mean square before it takes the root", float, metavar="E")
    add("--momentum", "momentum; Nesterov's with sgd", float, metavar="M")
    add("--weight-decay", "weight decay of weights; biases and gains have none", float, metavar="D")
    add("--label-smoothing", "share of each label spread over all classes", float, metavar="S")
    add("--dropout", "dropout rate before the last layer; default: the variant's", float, metavar="RATE")
    add("--stochdepth-rate", "stochastic depth rate of the last block; default: the variant's", float, metavar="RATE")
    add("--agc", "threshold of adaptive gradient clipping, or off", number_or_off, metavar="LAMBDA")
    add("--agc-except", "parameters that AGC leaves alone beside the last weight, such as '*.skip_gain', or off",
        text_or_off, action=JoinedByCommas, metavar="PATTERN")
    add("--sam", "rho of sharpness-aware minimization, or off", number_or_off, metavar="RHO")
    add("--sam-fraction", "share of the batch that SAM's ascent step uses", float, metavar="SHARE")
    add("--ema", "decay of the averaged weights, or off", number_or_off, metavar="DECAY")
    add("--seed", "seed of all random numbers", int, metavar="S")
    add("--dtype", "of the weights: float32 or float64", metavar="NAME")
    add("--precision", "bf16 or fp16: compute in that, with weights in float32 (cupy), or off", text_or_off,
        metavar="NAME")
    add("--tf32", "on or off: round the inputs of float32 products to 10 bits, several times faster (cupy)",
        metavar="NAME")
    add("--cuda-graph", "on or off: capture the launches of a step and start them together (cupy)", metavar="NAME")
    add("--workers", "threads that decode images", int, metavar="N")
    add("--max-pixels", "the largest image to decode, in pixels", int, metavar="N")
    add("--memory-check", "on or off: compare the memory that a step will take with what is available", metavar="NAME")
    add("--csv", "on or off: write the metrics as metrics.csv, too", metavar="NAME")
    add("--tensorboard", "on or off: write the metrics as TensorBoard's event files, too", metavar="NAME")
    add("--checkpoint-every", "steps between checkpoints inside an epoch, or off", int_or_off, metavar="STEPS")
    add("--keep", "checkpoints to keep beside the last one: best:N (by test accuracy), last:N, all or off",
        text_or_off, metavar="RULE")
    add("--early-stop", "epochs without a better test accuracy after which the run ends, or off", int_or_off,
        metavar="N")
    add("--time-limit", "time after which the run saves and ends, such as 2h30m, 45m or 5400 (seconds), or off",
        duration_or_off, metavar="TIME")
    add("--changed-data", "refuse or accept: whether a run is resumed on images that were changed", metavar="NAME")
    add("--out", "folder for what the run writes; default: runs/NAME-OF-DATA, numbered if taken", metavar="DIR")
    p.add_argument("--config", metavar="FILE", help="a TOML file of options, or recipe:NAME; flags overrule it; list: "
                                                    "print the recipes")
    p.add_argument("--find-lr", action="store_true", default=False,
                   help="test learning rates in a few steps and suggest one, in place of training")
    p.add_argument("--resume", action="store_true", default=False, help="go on with the run in --out")
    return p


def main(arguments: list[str]) -> int:
    """Train with the options on the command line."""
    given = vars(parser().parse_args(arguments))
    resume = given.pop("resume")
    config = given.pop("config", None)
    wants_lr = given.pop("find_lr")
    if wants_lr and resume:
        raise InputError("--find-lr with --resume: expected one of them")
    if config == "list":
        print(recipes.listing())
        return 0
    if config is not None:
        given = {**read_config(config), **given}
    if wants_lr:
        find_lr(given)
    else:
        train(given, resume=resume)
    return 0


if __name__ == "__main__":
    run(main)
