//! One peer, either role, all requests: transport inputs and application verbs in, outputs and events out.

mod event;
mod settings;
mod source;

pub use event::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
pub use settings::{Limits, Role, Settings, Underlay};
pub use source::{Piece, Source};
