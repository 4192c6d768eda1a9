//! Black-box tests of the real binaries on real parts.
