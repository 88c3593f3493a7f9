//! One peer, either role, all requests: transport inputs and application verbs in, outputs and events out.

mod event;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the session is about to call it")
)]
mod incoming;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the session is about to call it")
)]
mod outgoing;
mod settings;
mod source;

pub use event::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
pub use settings::{Limits, Role, Settings, Underlay};
pub use source::{Piece, Source};
