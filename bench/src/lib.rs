//! A load generator for relays of Media over QUIC, and what it says of them.
//!
//! **Open loop.** Objects leave on schedule, whatever the relay does, and an object's latency counts from the moment at
//! which it *should* have left. A relay that falls behind cannot slow down the measurement that shows it.
//!
//! From the command line to the report:
//! * [`flags`] and [`profile`] make a [`plan`];
//! * [`load`] is the program without its sockets: publishers, subscribers and the phases of a run. It keeps time with the
//!   [`schedule`] on the machine's [`clock`], marks each object with a [`stamp`], and counts what arrives in an
//!   [`account`] for each subscription;
//! * [`process`] reads what the relay and the generator cost;
//! * [`report`] is the result: a table, JSON, a comparison, a plot.

pub mod account;
pub mod clock;
pub mod flags;
pub mod latency;
pub mod load;
pub mod number;
pub mod plan;
pub mod process;
pub mod profile;
pub mod report;
pub mod schedule;
pub mod seen;
pub mod stamp;
