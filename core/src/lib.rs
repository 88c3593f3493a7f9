//! The protocol core of Oxymoq, a Media over QUIC Transport (MoQT) relay: bytes and time in, bytes, events and
//! deadlines out. It does no I/O, reads no clock, starts no thread and contains no `unsafe` code.
//!
//! # Two sessions back to back
//!
//! A [`session::Session`] is one side of a MoQT session. Here two of them talk through a wire made of two maps: a client
//! asks for a track that the server does not have.
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//!
//! use bytes::Bytes;
//! use oxymoq_core::code::RequestCode;
//! use oxymoq_core::session::{Event, Outbox, Refusal, Request, Response, Role, Session, Settings};
//! use oxymoq_core::time::Time;
//! use oxymoq_core::transport::{Answer, Input, Output, Room, StreamId};
//! use oxymoq_core::wire::id::RequestId;
//! use oxymoq_core::wire::message::Subscribe;
//! use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
//! use oxymoq_core::wire::param::Parameters;
//!
//! /// A session, its streams under the other side's names, and what it can read.
//! struct Side {
//!     session: Session,
//!     names: BTreeMap<StreamId, StreamId>,
//!     unread: BTreeMap<StreamId, VecDeque<Bytes>>,
//!     accepted: u64,
//! }
//!
//! fn side(role: Role) -> Side {
//!     let mut session = Session::new(Settings::new(role));
//!     let alpn = Bytes::from_static(b"moqt-18");
//!     session.handle_input(Time::ZERO, Input::Connected { alpn, max_datagram: 0 });
//!     Side { session, names: BTreeMap::new(), unread: BTreeMap::new(), accepted: 0 }
//! }
//!
//! /// Carries out what `from` wants, one output at a time, each answered before the next. Whether something happened.
//! fn pump(from: &mut Side, to: &mut Side) -> bool {
//!     let (now, mut data) = (Time::ZERO, Outbox::new(0));
//!     let mut happened = false;
//!     while let Some(output) = from.session.poll_output(now, &mut data) {
//!         let answer = match output {
//!             Output::Open { stream, dir } => {
//!                 let name = StreamId::peer(to.accepted);
//!                 to.accepted += 1;
//!                 from.names.insert(stream, name);
//!                 to.names.insert(name, stream);
//!                 to.session.handle_input(now, Input::Opened { stream: name, dir });
//!                 Answer::Done
//!             }
//!             Output::Write { stream, bytes, .. } => {
//!                 let (name, taken) = (from.names[&stream], bytes.len());
//!                 to.unread.entry(name).or_default().push_back(bytes);
//!                 to.session.handle_input(now, Input::Readable(name));
//!                 Answer::Wrote { taken, room: Room::More }
//!             }
//!             Output::Read { stream, .. } => {
//!                 let waiting = from.unread.entry(stream).or_default().pop_front();
//!                 waiting.map_or(Answer::Blocked, Answer::Data)
//!             }
//!             _ => continue, // this wire ends no streams and needs no advice
//!         };
//!         happened |= answer != Answer::Blocked;
//!         from.session.handle_answer(now, answer, &mut data);
//!     }
//!     happened
//! }
//!
//! fn settle(client: &mut Side, server: &mut Side) {
//!     while pump(client, server) | pump(server, client) {}
//! }
//!
//! let (mut client, mut server) = (side(Role::Client), side(Role::Server));
//! settle(&mut client, &mut server);
//! assert!(matches!(client.session.poll_event(), Some(Event::Established { .. })));
//! assert!(matches!(server.session.poll_event(), Some(Event::Established { .. })));
//!
//! let subscribe = Subscribe {
//!     request_id: RequestId(0), // the session fills it in
//!     track: FullTrackName::new(TrackNamespace::new(["live"])?, TrackName::new("video")?)?,
//!     parameters: Parameters::default(),
//! };
//! let id = client.session.request(Time::ZERO, Request::Subscribe(subscribe))?;
//! settle(&mut client, &mut server);
//!
//! let Some(Event::Request { id: asked, .. }) = server.session.poll_event() else { panic!() };
//! let refusal = Refusal::new(RequestCode::DoesNotExist, "no such track");
//! server.session.respond(Time::ZERO, asked, Response::Error(refusal.clone()))?;
//! settle(&mut client, &mut server);
//!
//! let response = Response::Error(refusal);
//! assert_eq!(client.session.poll_event(), Some(Event::Response { id, response }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod code;
pub mod draft;
pub mod fanout;
pub mod h3;
pub mod ledger;
pub mod peer;
pub mod peers;
pub mod publisher;
pub mod relay;
pub mod runtime;
pub mod schedule;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod transport;
pub mod wire;
