//! The protocol core of Oxymoq, a Media over QUIC Transport (MoQT) relay: bytes and time in, bytes, events and
//! deadlines out. It does no I/O, reads no clock, starts no thread and contains no `unsafe` code.
//!
//! # The run loop
//!
//! A program that talks to many peers, such as a [`relay::Relay`], is a [`transport::Application`]. Whatever moves its
//! bytes does this, over and over:
//!
//! ```
//! use oxymoq_core::relay::{Relay, Settings};
//! use oxymoq_core::time::{Time, WallTime};
//! use oxymoq_core::transport::{
//!     Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
//! };
//!
//! /// What a QUIC stack and a clock have to offer.
//! trait Stack {
//!     /// A client that asks to be let in.
//!     fn incoming(&mut self) -> Option<Incoming>;
//!     /// What became of it.
//!     fn admit(&mut self, admission: Admission);
//!     /// Something that happened on a connection since the last call.
//!     fn input(&mut self) -> Option<(ConnectionId, Input)>;
//!     /// Does what the application wants; the outputs that need an answer get one.
//!     fn carry_out(&mut self, connection: ConnectionId, output: Output) -> Option<Answer>;
//!     /// Begins to connect; the outcome is an input.
//!     fn connect(&mut self, connection: ConnectionId, target: Target);
//!     /// Sends what is to be sent, and waits until something happens or the deadline has come.
//!     fn wait(&mut self, deadline: Option<Time>) -> (Time, WallTime);
//! }
//!
//! fn run(app: &mut impl Application, stack: &mut impl Stack) -> Exit {
//!     let (mut now, mut wall) = (Time::ZERO, WallTime(0));
//!     loop {
//!         // In: everything that happened. The application only takes note of it.
//!         app.handle_wall_clock(now, wall);
//!         while let Some(incoming) = stack.incoming() {
//!             stack.admit(app.handle_incoming(now, &incoming));
//!         }
//!         while let Some((connection, input)) = stack.input() {
//!             app.handle_input(now, connection, input);
//!         }
//!         if app.poll_timeout().is_some_and(|(deadline, _)| deadline <= now) {
//!             app.handle_timeout(now);
//!         }
//!         // Out: one thing at a time, each answered before the next.
//!         while let Some(connection) = app.poll_dirty() {
//!             while let Some(output) = app.poll_output(now, connection) {
//!                 if let Some(answer) = stack.carry_out(connection, output) {
//!                     app.handle_answer(now, connection, answer);
//!                 }
//!             }
//!         }
//!         while let Some((connection, target)) = app.poll_connect() {
//!             stack.connect(connection, target);
//!         }
//!         if let Some(exit) = app.poll_exit() {
//!             return exit;
//!         }
//!         (now, wall) = stack.wait(app.poll_timeout().map(|(deadline, _)| deadline));
//!     }
//! }
//!
//! // A stack on which nothing ever happens is enough for a relay that is told to end at once.
//! struct Silence;
//! # impl Stack for Silence {
//! #     fn incoming(&mut self) -> Option<Incoming> { None }
//! #     fn admit(&mut self, _: Admission) {}
//! #     fn input(&mut self) -> Option<(ConnectionId, Input)> { None }
//! #     fn carry_out(&mut self, _: ConnectionId, _: Output) -> Option<Answer> { None }
//! #     fn connect(&mut self, _: ConnectionId, _: Target) {}
//! #     fn wait(&mut self, deadline: Option<Time>) -> (Time, WallTime) {
//! #         (deadline.unwrap_or(Time::ZERO), WallTime(0))
//! #     }
//! # }
//! let mut relay = Relay::new(Settings::default());
//! relay.handle_shutdown(Time::ZERO);
//! assert_eq!(run(&mut relay, &mut Silence), Exit::Success);
//! ```
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

pub mod cache;
pub mod client;
pub mod code;
pub mod draft;
pub mod fanout;
pub mod fetches;
pub mod h3;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod media;
pub mod peer;
pub mod peers;
pub mod publisher;
#[cfg(feature = "sim")]
mod recount;
pub mod relay;
pub mod reservations;
pub mod runtime;
pub mod schedule;
mod seldom;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod span;
pub mod time;
pub mod transport;
pub mod wire;
