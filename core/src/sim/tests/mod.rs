//! The simulator itself, sessions over its bad paths, and networks.

mod chains;
mod churn;
mod drafts;
mod moqtest;
mod pressure;
mod relays;
mod sessions;
mod world;
