//! A UDP proxy between clients and a server of one machine that is as slow, as short of room and as lossy as it is told.
//!
//! ```ignore
//! let narrow = Link { rate: Some(20_000_000), queue: 125_000, ..Link::default() };
//! let proxy = Proxy::start(server_address, Link::default(), narrow, 1);
//! // Clients connect to proxy.address().
//! proxy.silence(true); // From here on nothing arrives, either way.
//! ```
//!
//! Threads and blocking sockets, no runtime: what is tested must not share an executor with what it is tested with.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oxymoq_core::sim::Random;

/// One way through the proxy, shared by all clients. By default packets pass at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Bits per second, UDP payload only; `None`: as fast as they come.
    pub(crate) rate: Option<u64>,
    /// Bytes that may wait for their turn at that rate; a packet that finds no room is dropped.
    pub(crate) queue: u64,
    /// How much later each packet arrives, beside the wait for its turn.
    pub(crate) delay: Duration,
    /// How many of a thousand packets are lost, by a seeded generator.
    pub(crate) loss: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            rate: None,
            queue: u64::MAX,
            delay: Duration::ZERO,
            loss: 0,
        }
    }
}

/// What became of the packets of one way so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    /// No room in the queue.
    pub(crate) overflowed: u64,
    /// By chance.
    pub(crate) lost: u64,
    pub(crate) silenced: u64,
    /// Those among them that ask a client to prove its address (RFC 9000 § 17.2.5).
    pub(crate) retries: u64,
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Where clients send to.
    front: UdpSocket,
    address: SocketAddr,
    server: SocketAddr,
    to_server: Way,
    to_clients: Way,
    /// For each client the socket that the server knows it by.
    backs: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>,
    /// Those that they were known by before.
    retired: Mutex<Vec<Arc<UdpSocket>>>,
    silent: AtomicBool,
    over: AtomicBool,
}

/// A link at work.
#[derive(Debug)]
struct Way {
    link: Link,
    state: Mutex<Traffic>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Traffic {
    /// In order of their time.
    packets: VecDeque<Packet>,
    /// When the link has room for the next packet.
    free_at: Instant,
    random: Random,
    counts: Counts,
}

#[derive(Debug)]
struct Packet {
    at: Instant,
    through: Through,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// The socket that sends a packet on.
#[derive(Debug)]
enum Through {
    Front,
    Back(Arc<UdpSocket>),
}

impl Proxy {
    /// Starts one in front of a server on IPv4. Equal seeds lose the same packets, counted by their order on each way.
    pub(crate) fn start(server: SocketAddr, to_server: Link, to_clients: Link, seed: u64) -> Self {
        let front = socket();
        let shared = Arc::new(Shared {
            address: front.local_addr().unwrap(),
            front,
            server,
            to_server: Way::new(to_server, seed),
            to_clients: Way::new(to_clients, !seed),
            backs: Mutex::default(),
            retired: Mutex::default(),
            silent: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let roles: [fn(&Arc<Shared>); 3] = [
            Shared::listen,
            |shared| shared.deliver(&shared.to_server),
            |shared| shared.deliver(&shared.to_clients),
        ];
        let threads = roles.map(|role| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || role(&shared))
        });
        Self {
            shared,
            threads: threads.into(),
        }
    }

    /// Where clients are to connect to, instead of to the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Drops everything that comes from now on, either way, or no longer does. What is under way still arrives.
    pub(crate) fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Release);
    }

    /// From now on the server sees another port of each client, and reaches it at that one only: as when a NAT forgets whom it
    /// served.
    pub(crate) fn rebind(&self) {
        let backs = std::mem::take(&mut *lock(&self.shared.backs));
        lock(&self.shared.retired).extend(backs.into_values());
    }

    /// What became of packets on their way to the server.
    pub(crate) fn to_server(&self) -> Counts {
        lock(&self.shared.to_server.state).counts
    }

    /// What became of packets on their way to clients.
    pub(crate) fn to_clients(&self) -> Counts {
        lock(&self.shared.to_clients.state).counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        for way in [&self.shared.to_server, &self.shared.to_clients] {
            let _state = lock(&way.state);
            way.arrived.notify_all();
        }
        // A packet that nobody reads wakes whoever waits for one.
        let mut waiting = vec![self.shared.address];
        let backs = lock(&self.shared.backs);
        for back in backs.values().chain(&*lock(&self.shared.retired)) {
            waiting.extend(back.local_addr());
        }
        drop(backs);
        for address in waiting {
            let _their_buffer_is_full = self.shared.front.send_to(&[], address);
        }
        for thread in self.threads.drain(..) {
            // It panicked: then the test has failed already.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    /// Takes what clients send.
    fn listen(self: &Arc<Self>) {
        let mut readers = Vec::new();
        self.receive(&self.front, |from, bytes| {
            let back = {
                let mut backs = lock(&self.backs);
                match backs.get(&from) {
                    Some(back) => Arc::clone(back),
                    None => {
                        let back = Arc::new(socket());
                        backs.insert(from, Arc::clone(&back));
                        let (shared, mine) = (Arc::clone(self), Arc::clone(&back));
                        readers.push(thread::spawn(move || shared.answer(from, &mine)));
                        back
                    }
                }
            };
            let silent = self.silent.load(Ordering::Acquire);
            let way = &self.to_server;
            way.accept(silent, Through::Back(back), self.server, bytes);
        });
        for reader in readers {
            let _ended = reader.join();
        }
    }

    /// Takes what the server sends to one client.
    fn answer(&self, client: SocketAddr, back: &UdpSocket) {
        self.receive(back, |from, bytes| {
            let is_known = lock(&self.backs)
                .get(&client)
                .is_some_and(|known| std::ptr::eq(&**known, back));
            if from == self.server && is_known {
                let silent = self.silent.load(Ordering::Acquire);
                let way = &self.to_clients;
                way.accept(silent, Through::Front, client, bytes);
            }
        });
    }

    fn receive(&self, socket: &UdpSocket, mut take: impl FnMut(SocketAddr, &[u8])) {
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Ordering::Acquire) {
            // An error tells that an earlier packet found nobody, which is for its sender to notice.
            if let Ok((length, from)) = socket.recv_from(&mut buffer)
                && length > 0
            {
                take(from, buffer.get(..length).unwrap());
            }
        }
    }

    /// Sends packets on when their time has come.
    fn deliver(&self, way: &Way) {
        let mut state = lock(&way.state);
        while !self.over.load(Ordering::Acquire) {
            let now = Instant::now();
            let wait = state.packets.front().map(|packet| packet.at - now);
            state = match wait {
                None => way
                    .arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(wait) if !wait.is_zero() => {
                    let waited = way.arrived.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let packet = state.packets.pop_front().unwrap();
                    drop(state);
                    let socket = match &packet.through {
                        Through::Front => &self.front,
                        Through::Back(back) => back,
                    };
                    // The receiver may be gone.
                    let _lost = socket.send_to(&packet.bytes, packet.to);
                    lock(&way.state)
                }
            };
        }
    }
}

impl Way {
    fn new(link: Link, seed: u64) -> Self {
        Self {
            link,
            state: Mutex::new(Traffic {
                packets: VecDeque::new(),
                free_at: Instant::now(),
                random: Random::new(seed),
                counts: Counts::default(),
            }),
            arrived: Condvar::new(),
        }
    }

    fn accept(&self, silent: bool, through: Through, to: SocketAddr, bytes: &[u8]) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let lost = state.random.chance(self.link.loss);
        // A long header of the type Retry.
        let is_retry = bytes.first().is_some_and(|first| first & 0xf0 == 0xf0);
        state.counts.retries += u64::from(is_retry);
        if silent {
            state.counts.silenced += 1;
            return;
        }
        if lost {
            state.counts.lost += 1;
            return;
        }
        let mut at = now;
        if let Some(rate) = self.link.rate {
            let length = u64::try_from(bytes.len()).unwrap();
            let wait = state.free_at.saturating_duration_since(now);
            if carried(rate, wait).saturating_add(length) > self.link.queue {
                state.counts.overflowed += 1;
                return;
            }
            at = now + wait + time_of(rate, length);
            state.free_at = at;
        }
        state.counts.passed += 1;
        state.packets.push_back(Packet {
            at: at + self.link.delay,
            through,
            to,
            bytes: bytes.to_vec(),
        });
        self.arrived.notify_one();
    }
}

/// Bytes that a link carries in this time.
fn carried(rate: u64, time: Duration) -> u64 {
    let bits = u128::from(rate) * time.as_nanos() / 1_000_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

/// How long a link needs for so many bytes.
fn time_of(rate: u64, bytes: u64) -> Duration {
    let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Whoever panicked with the lock held has failed its test already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's socket, and a client's that is connected to a proxy in front of it.
    fn pair(to_server: Link) -> (UdpSocket, UdpSocket, Proxy) {
        let (server, client) = (socket(), socket());
        let proxy = Proxy::start(server.local_addr().unwrap(), to_server, Link::default(), 7);
        client.connect(proxy.address()).unwrap();
        (server, client, proxy)
    }

    fn receive(socket: &UdpSocket) -> (u8, SocketAddr) {
        let mut byte = [0; 2000];
        let (_, from) = socket.recv_from(&mut byte).unwrap();
        (byte[0], from)
    }

    #[test]
    fn packets_go_both_ways_and_each_client_has_an_address_of_its_own() {
        let (server, one, proxy) = pair(Link::default());
        let two = socket();
        two.connect(proxy.address()).unwrap();
        one.send(&[1]).unwrap();
        let (byte, first) = receive(&server);
        assert_eq!(byte, 1);
        two.send(&[2]).unwrap();
        let (byte, second) = receive(&server);
        assert_eq!(byte, 2);
        assert_ne!(first, second);
        server.send_to(&[4], second).unwrap();
        server.send_to(&[3], first).unwrap();
        assert_eq!((receive(&one).0, receive(&two).0), (3, 4));
        assert_eq!(
            (proxy.to_server().passed, proxy.to_clients().passed),
            (2, 2)
        );
    }

    #[test]
    fn a_client_gets_another_address_and_the_old_one_leads_nowhere() {
        let (server, client, proxy) = pair(Link::default());
        client.send(&[1]).unwrap();
        let (_, before) = receive(&server);
        proxy.rebind();
        client.send(&[2]).unwrap();
        let (_, after) = receive(&server);
        assert_ne!(before, after);
        server.send_to(&[3], before).unwrap();
        server.send_to(&[4], after).unwrap();
        assert_eq!(receive(&client).0, 4);
        assert_eq!(proxy.to_clients().passed, 1);
    }

    #[test]
    fn packets_beyond_the_queue_are_dropped() {
        // So slow that nothing leaves the queue within the test.
        let (_server, client, proxy) = pair(Link {
            rate: Some(8),
            queue: 250,
            ..Link::default()
        });
        for number in 1..=5 {
            client.send(&[number; 100]).unwrap();
        }
        while proxy.to_server().passed + proxy.to_server().overflowed < 5 {
            thread::yield_now();
        }
        let counts = proxy.to_server();
        assert_eq!((counts.passed, counts.overflowed), (2, 3));
    }

    #[test]
    fn packets_that_wait_keep_their_order() {
        let (server, client, _proxy) = pair(Link {
            rate: Some(8_000_000),
            delay: Duration::from_millis(2),
            ..Link::default()
        });
        for number in 1..=5 {
            client.send(&[number; 1000]).unwrap();
        }
        let arrived: Vec<u8> = (1..=5).map(|_| receive(&server).0).collect();
        assert_eq!(arrived, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn equal_seeds_lose_the_same_packets() {
        let survivors = || {
            let (server, client, proxy) = pair(Link {
                loss: 400,
                ..Link::default()
            });
            let arrived = (1..=20).filter(|number| {
                let Counts { passed, lost, .. } = proxy.to_server();
                client.send(&[*number]).unwrap();
                while proxy.to_server().passed == passed && proxy.to_server().lost == lost {
                    thread::yield_now();
                }
                let passed = proxy.to_server().passed > passed;
                if passed {
                    assert_eq!(receive(&server).0, *number);
                }
                passed
            });
            arrived.collect::<Vec<u8>>()
        };
        let first = survivors();
        assert!((5..=15).contains(&first.len()), "{first:?}");
        assert_eq!(first, survivors());
    }

    #[test]
    fn silence_drops_everything_until_it_ends() {
        let (server, client, proxy) = pair(Link::default());
        proxy.silence(true);
        client.send(&[1]).unwrap();
        while proxy.to_server().silenced == 0 {
            thread::yield_now();
        }
        proxy.silence(false);
        client.send(&[2]).unwrap();
        assert_eq!(receive(&server).0, 2);
    }
}
