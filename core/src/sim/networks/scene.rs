//! The world of a plan: its nodes, and how they connect, go and come back.

use std::time::Duration;

use bytes::Bytes;

use crate::relay::Settings as RelaySettings;
use crate::runtime::TransportSettings;
use crate::session::{Limits, Role, Settings, Underlay};
use crate::transport::{ConnectionId, Target};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

use super::super::network::Access;
use super::super::program::{Part, Program};
use super::super::random::Random;
use super::super::shards::Shards;
use super::super::world::{NodeId, World};
use super::book::Book;
use super::plan::{Path, Plan, TransportPlan};
use super::studio::Studio;
use super::viewer::Viewer;

const PORT: u16 = 4433;
/// Both ends notice within twice this that the other one is gone.
const IDLE: Duration = Duration::from_secs(5);

/// How late a frame between shards may be: a turn of a busy thread.
const LATENESS: Duration = Duration::from_millis(2);

/// A node and whether it is there.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) node: NodeId,
    pub(super) alive: bool,
    /// Of a relay: its connection to the one that it is a client of.
    pub(super) hop: Option<ConnectionId>,
}

impl Slot {
    pub(super) const fn new(node: NodeId) -> Self {
        Self {
            node,
            alive: true,
            hop: None,
        }
    }
}

/// The name of a track.
pub(super) fn track_name(track: usize) -> FullTrackName {
    let namespace = TrackNamespace::new([namespace_field(), format!("{track}")]);
    let name = TrackName::new("track");
    match (namespace, name) {
        (Ok(namespace), Ok(name)) => FullTrackName { namespace, name },
        _ => FullTrackName::default(),
    }
}

fn namespace_field() -> String {
    "show".to_owned()
}

/// What the namespaces of all tracks begin with.
pub(super) fn prefix() -> TrackNamespace {
    TrackNamespace::new([namespace_field()]).unwrap_or_default()
}

fn host(relay: usize) -> String {
    format!("relay {relay}")
}

fn transport(plan: &TransportPlan) -> TransportSettings {
    let mut transport = TransportSettings {
        idle_timeout: IDLE,
        ..TransportSettings::default()
    };
    if plan.small_windows {
        transport.receive_window = 12_000;
        transport.publisher_window = 16_000;
        transport.stream_window = 4_000;
    }
    if plan.few_streams {
        transport.max_uni_streams = 4;
        transport.max_bidi_streams = 4;
    }
    if plan.small_unacked {
        transport.max_unacked = 6_000;
    }
    transport
}

/// Of how many shards a relay is, and the seed for what happens between them. Half of all have one.
fn shards(plan: &Plan, relay: usize) -> (u64, usize) {
    let relay = u64::try_from(relay).unwrap_or(u64::MAX);
    let seed = plan.seed.wrapping_add(relay);
    let mut random = Random::new(seed);
    let count = if random.chance(500) {
        1
    } else {
        random.length(3) + 1
    };
    (seed, count)
}

/// How relays of this plan are set up.
fn settings(plan: &Plan) -> RelaySettings {
    let mut settings = RelaySettings::default();
    settings.cache.max_age = Duration::from_secs(20);
    settings.transport = transport(&plan.transport);
    if plan.limits.few_fetches {
        settings.limits.max_fetches = 2;
        settings.limits.max_fills = 1;
        settings.limits.max_fills_ahead = 1;
    }
    if plan.limits.short_cache {
        settings.cache.max_age = Duration::from_secs(1);
    }
    if plan.limits.short_past {
        settings.fanout.remembered_groups = 1;
        settings.fanout.remembered_finales = 1;
    }
    if let Some(memory) = plan.memory {
        settings.limits.max_object_bytes = memory;
        settings.cache.max_bytes = u64::try_from(memory / 2).unwrap_or(0);
        settings.fanout.max_backlog_under_pressure = u64::try_from(memory / 8).unwrap_or(0);
    }
    settings
}

/// Adds a relay, or one in the place of one that crashed.
pub(super) fn add_relay(world: &mut World, plan: &Plan, relay: usize) -> NodeId {
    let name = host(relay);
    let (seed, shards) = shards(plan, relay);
    let application = Shards::new(seed, shards, &settings(plan), LATENESS);
    let node = world.add(&name, application, transport(&plan.transport));
    let drafts = crate::draft::Draft::ALL;
    let mut alpns = drafts.map(|draft| alpn(draft.profile().alpn)).to_vec();
    alpns.push(alpn("h3"));
    world.listen(node, &name, PORT, alpns);
    node
}

fn alpn(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn target(relay: usize, access: Access) -> Target {
    let name = match access.web_transport {
        true => "h3",
        false => access.draft.profile().alpn,
    };
    Target {
        host: host(relay),
        port: PORT,
        alpns: vec![alpn(name)],
    }
}

/// Makes a relay a client of another.
pub(super) fn connect_relay(
    world: &mut World,
    (from, to): (&Slot, &Slot),
    parent: usize,
    draft: crate::draft::Draft,
    path: &Path,
) -> Option<ConnectionId> {
    world.set_link(from.node, to.node, path.link());
    let access = Access {
        draft,
        web_transport: false,
    };
    let target = target(parent, access);
    world.with(from.node, |relay: &mut Shards, now| {
        relay.connect(
            now,
            target,
            Bytes::from_static(b"relay"),
            Bytes::from_static(b"/"),
        )
    })
}

fn program<P: Part + 'static>(relay: usize, access: Access, part: P) -> Program<P> {
    let settings = Settings {
        role: Role::Client,
        underlay: match access.web_transport {
            true => Underlay::WebTransport,
            false => Underlay::RawQuic,
        },
        path: Bytes::from_static(b"/"),
        authority: Bytes::from_static(b"relay:4433"),
        accepted_paths: Vec::new(),
        implementation: Bytes::new(),
        authorization_tokens: Vec::new(),
        limits: Limits::default(),
    };
    let target = target(relay, access);
    Program::client(settings, &[access.draft], target, Box::new(part))
}

fn add_client<P: Part + 'static>(
    world: &mut World,
    plan: &Plan,
    name: &str,
    (relay, at): (usize, &Slot),
    (access, path): (Access, &Path),
    part: P,
) -> NodeId {
    let program = program(relay, access, part);
    let node = world.add(name, program, transport(&plan.transport));
    world.set_link(node, at.node, path.link());
    node
}

/// Adds a publisher.
pub(super) fn add_studio(
    world: &mut World,
    plan: &Plan,
    relays: &[Slot],
    number: usize,
    book: Book,
) -> Option<NodeId> {
    let studio = plan.studios.get(number)?;
    let relay = plan.relay(studio.relay);
    let name = format!("studio {number}");
    let part = Studio::new(book, studio.pushes);
    let at = (relay, relays.get(relay)?);
    let how = (studio.access, &studio.path);
    Some(add_client(world, plan, &name, at, how, part))
}

/// Adds a subscriber.
pub(super) fn add_viewer(
    world: &mut World,
    plan: &Plan,
    relays: &[Slot],
    number: usize,
) -> Option<NodeId> {
    let viewer = plan.viewers.get(number)?;
    let relay = plan.relay(viewer.relay);
    let name = format!("viewer {number}");
    let at = (relay, relays.get(relay)?);
    let how = (viewer.access, &viewer.path);
    Some(add_client(world, plan, &name, at, how, Viewer::default()))
}
