//! The simulator itself, sessions over its bad paths, and networks.

mod drafts;
mod moqtest;
mod pressure;
mod relays;
mod sessions;
mod world;
