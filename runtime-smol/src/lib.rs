//! Drives the core on smol.
