"""One device."""

CUDA_R_32F, CUDA_R_64F, CUDA_R_16F, CUDA_R_16BF = 0, 1, 2, 14


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it."""


def getDeviceCount():
    return 1


def getDeviceProperties(device):
    return {"name": b"stand-in on the CPU", "multiProcessorCount": 4, "major": 9, "minor": 0, "l2CacheSize": 1 << 25,
            "totalGlobalMem": 1 << 32}


def getDevice():
    return 0


def runtimeGetVersion():
    return 13000


def driverGetVersion():
    return 13000


def memGetInfo():
    """(free, total) bytes of the device."""
    return 2**36, 2**36
