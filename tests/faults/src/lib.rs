//! Kills, cuts and full disks under the real binaries: see `tests/`.
