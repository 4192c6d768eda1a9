//! What the host says about itself: processes, listening ports, mounts, free space.
//!
//! Owns: reading `/proc` and asking the kernel; nothing here changes the host except
//! [`mounts::unmount_below`] and [`cgroups::remove`].
//! May call: procfs, nix. Called by: the preflight checks, `reset`, and the services.

pub(crate) mod cgroups;
pub(crate) mod mounts;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod space;
