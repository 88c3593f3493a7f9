//! Outgoing connections: resolve the name, try its addresses, keep the first that answers.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use oxymoq_core::transport::{Application, Closed, ConnectionId, Input, Target};
use oxymoq_tls::words;
use quinn_proto::{ConnectionError, ConnectionHandle};
use tokio::task::JoinSet;

use crate::endpoint::{Driver, Key};
use crate::timer::Entry;
use crate::{config, reason};

/// How long an address has to itself before the next one is tried beside it (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// A connection that the application asked for and that is not established yet.
#[derive(Debug)]
pub(crate) struct Dial {
    target: Target,
    deadline: Instant,
    timer: Entry,
    /// Set once the name is resolved.
    resolved: bool,
    /// Not yet tried.
    addresses: VecDeque<SocketAddr>,
    attempts: Vec<ConnectionHandle>,
    /// Tried, for the message if nobody answers.
    tried: Vec<SocketAddr>,
    /// The last thing that a server or this side had against an attempt.
    failure: Option<String>,
}

type Found = io::Result<Vec<SocketAddr>>;

/// Names being resolved.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    tasks: JoinSet<(ConnectionId, Found)>,
}

impl Lookups {
    fn start(&mut self, id: ConnectionId, host: String, port: u16) {
        self.tasks.spawn(async move {
            let found = tokio::net::lookup_host((host, port)).await;
            (id, found.map(Iterator::collect))
        });
    }

    /// The next that is resolved, or `None` while none is asked for.
    pub(crate) async fn next(&mut self) -> Option<(ConnectionId, Found)> {
        self.tasks.join_next().await?.ok()
    }
}

impl<A: Application> Driver<'_, A> {
    /// Starts what the application asks for.
    pub(crate) fn start_dials(&mut self) {
        while let Some((id, target)) = self.app.poll_connect() {
            let (host, port) = (target.host.clone(), target.port);
            let deadline = self.now + self.client.connect_timeout;
            let mut dial = Dial {
                target,
                deadline,
                timer: Entry::default(),
                resolved: false,
                addresses: VecDeque::new(),
                attempts: Vec::new(),
                tried: Vec::new(),
                failure: None,
            };
            self.timers.arm(Key::Dial(id), &mut dial.timer, deadline);
            self.dials.insert(id, dial);
            match host.parse::<IpAddr>() {
                Ok(ip) => self.handle_lookup(id, Ok(vec![SocketAddr::from((ip, port))])),
                Err(_) if oxymoq_tls::is_host_name(&host) => self.lookups.start(id, host, port),
                Err(_) => {
                    if let Some(dial) = self.dials.get_mut(&id) {
                        dial.failure = Some(words::no_host_name(&host));
                    }
                    self.handle_lookup(id, Ok(Vec::new()));
                }
            }
        }
    }

    /// The name is resolved, or it could not be.
    pub(crate) fn handle_lookup(&mut self, id: ConnectionId, found: Found) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        dial.resolved = true;
        match found {
            Ok(addresses) => dial.addresses = addresses.into(),
            Err(cause) => {
                dial.failure = Some(words::unresolved(&dial.target.host, cause));
            }
        }
        self.try_next(id);
    }

    /// Tries the next address, or gives up when none is left to try or to wait for.
    fn try_next(&mut self, id: ConnectionId) {
        while let Some(dial) = self.dials.get_mut(&id) {
            let Some(address) = dial.addresses.pop_front() else {
                if dial.attempts.is_empty() {
                    self.fail_dial(id);
                }
                return;
            };
            match self.attempt(id, address) {
                Ok(handle) => {
                    if let Some(dial) = self.dials.get_mut(&id) {
                        dial.tried.push(address);
                        dial.attempts.push(handle);
                        let at = if dial.addresses.is_empty() {
                            dial.deadline
                        } else {
                            dial.deadline.min(self.now + STAGGER)
                        };
                        self.timers.arm(Key::Dial(id), &mut dial.timer, at);
                    }
                    return;
                }
                Err(why) => {
                    if let Some(dial) = self.dials.get_mut(&id) {
                        dial.failure = Some(why);
                    }
                }
            }
        }
    }

    fn attempt(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
    ) -> Result<ConnectionHandle, String> {
        let Some(Dial { target, .. }) = self.dials.get(&id) else {
            return Err("given up".to_owned());
        };
        let remote = self.reach(address).ok_or_else(|| {
            format!("{address} is an IPv6 address and this endpoint listens on IPv4 only; listen on [::]")
        })?;
        let tls = self.tls.offering(&target.alpns)?;
        let config = config::client(tls, self.client_transport.clone())?;
        let (handle, quic) = self
            .quic
            .connect(self.now, config, remote, &target.host)
            .map_err(|cause| format!("cannot connect to {} at {address}: {cause}", target.host))?;
        self.insert_attempt(handle, quic, id);
        Ok(handle)
    }

    /// An attempt came to nothing.
    pub(crate) fn attempt_failed(
        &mut self,
        id: ConnectionId,
        handle: ConnectionHandle,
        cause: &ConnectionError,
    ) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        dial.attempts.retain(|attempt| *attempt != handle);
        let refusal = self.tls.refusal(&dial.target.host);
        dial.failure = Some(reason::of_client(cause, &dial.target, refusal));
        self.try_next(id);
    }

    /// Time for the next address, or to give up.
    pub(crate) fn expire_dial(&mut self, id: ConnectionId) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        dial.timer.fired();
        if dial.deadline <= self.now {
            return self.fail_dial(id);
        }
        let deadline = dial.deadline;
        self.timers.arm(Key::Dial(id), &mut dial.timer, deadline);
        if dial.resolved {
            self.try_next(id);
        }
    }

    fn fail_dial(&mut self, id: ConnectionId) {
        let Some(dial) = self.dials.get(&id) else {
            return;
        };
        let why = dial
            .failure
            .clone()
            .unwrap_or_else(|| no_answer(dial, self.client.connect_timeout));
        self.end_dial(id, None);
        self.tell(id, Input::Closed(Closed::Failed(why)));
    }

    /// Forgets the dial and its attempts, but for the one that made it.
    pub(crate) fn end_dial(&mut self, id: ConnectionId, keep: Option<ConnectionHandle>) {
        let Some(mut dial) = self.dials.remove(&id) else {
            return;
        };
        self.timers.disarm(Key::Dial(id), &mut dial.timer);
        for handle in dial.attempts {
            if Some(handle) != keep {
                self.abandon(handle);
            }
        }
    }
}

fn no_answer(dial: &Dial, timeout: Duration) -> String {
    if dial.resolved {
        words::no_answer(&dial.target, &dial.tried, timeout)
    } else {
        words::unresolved_in_time(&dial.target.host, timeout)
    }
}
