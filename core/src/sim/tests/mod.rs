//! The simulator itself, sessions over its bad paths, and networks.

mod sessions;
mod world;
