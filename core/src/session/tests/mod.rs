//! Sessions against a scripted peer, and two sessions back to back. Tests are named by the rule that they show.

mod credit;
mod data;
mod endings;
mod goaway;
mod name_bytes;
mod names;
mod pair;
mod random;
mod requests;
mod script;
mod setup;
mod support;
mod tokens;
mod updates;
mod violations;
