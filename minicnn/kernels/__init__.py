"""What is long and fast: compiled kernels. README.md is the order in which to read them."""
