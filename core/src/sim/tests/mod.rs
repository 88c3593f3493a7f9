//! The simulator itself, sessions over its bad paths, and networks.

mod moqtest;
mod relays;
mod sessions;
mod world;
