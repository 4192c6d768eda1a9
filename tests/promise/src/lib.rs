//! Reads the promises of SPECIFICATION.md and measures them.
