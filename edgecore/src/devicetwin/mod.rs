//! Devices and their twins, in their own SQLite file.
