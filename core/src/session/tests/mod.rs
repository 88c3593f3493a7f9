//! Sessions against a scripted peer, and two sessions back to back.

mod pair;
mod support;
