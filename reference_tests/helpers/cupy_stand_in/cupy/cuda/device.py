"""The handle that cuBLAS wants."""


def get_cublas_handle():
    return 77
