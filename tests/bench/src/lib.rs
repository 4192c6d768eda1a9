//! Benchmarks that print a number and its unit.
