"""`python -m nfnumpy`: what there is to run."""

COMMANDS = {
    "train": "train a normalizer-free network on images",
    "predict": "classify image files with a trained checkpoint",
}

if __name__ == "__main__":
    print("nfnumpy: normalizer-free networks by hand, on NumPy or CuPy\n")
    for name, purpose in COMMANDS.items():
        print(f"  python -m nfnumpy.{name:<10} {purpose}")
    print("\nEach takes --help.")
