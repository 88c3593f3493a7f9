//! The simulator itself, sessions over its bad paths, and networks.

mod drafts;
mod moqtest;
mod relays;
mod sessions;
mod world;
