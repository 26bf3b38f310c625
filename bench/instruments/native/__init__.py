"""The `native` instrument: a torch-free ExecuTorch runner in C++, and how it is built."""
