//! The UDP socket under s2n-quic, driven by async-io: batches, segmentation offload, ECN and packet information included.

use std::future::Future as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use oxymoq_tls::sockets::{self, Group};
use s2n_quic::provider::io::Provider;
use s2n_quic_core::endpoint::Endpoint;
use s2n_quic_core::inet::SocketAddress;
use s2n_quic_core::io::event_loop::EventLoop;
use s2n_quic_core::path::{MaxMtu, mtu};
use s2n_quic_core::task::cooldown::Cooldown;
use s2n_quic_core::time::clock::Timer as QuicTimer;
use s2n_quic_core::time::{Clock, ClockWithTimer, NoopClock, Timestamp};
use s2n_quic_platform::features::Gso;
use s2n_quic_platform::features::gso::MaxSegments;
use s2n_quic_platform::message::default as message;
use s2n_quic_platform::socket::io::{rx::Rx, tx::Tx};
use s2n_quic_platform::socket::task::{Receiver, Sender, rx, tx};
use s2n_quic_platform::socket::{ring, stats};
use s2n_quic_platform::syscall::{self, SocketType, UnixMessage};
use smol::Executor;
use socket2::Socket;

use crate::Error;
use crate::ready::lock;

/// One entry of a ring: what `recvmmsg` and `sendmmsg` take.
type Packet = message::Message;

/// Largest packet that path MTU discovery tries, in bytes with IP and UDP headers: that of Ethernet.
const MAX_MTU: u16 = 1500;
/// Largest datagram that the kernel hands over: as many packets of one peer as it could coalesce.
const MAX_RECEIVE: u16 = u16::MAX;
/// Bytes for packets between socket and endpoint, from the network. Memory is used only as far as it was once filled.
const RECEIVE_RING: u32 = 4 << 20;
/// Bytes for packets between endpoint and socket, to the network: 64 entries with one peer's packets each, so that one call
/// serves so many subscribers. Memory is used only as far as it was once filled.
const SEND_RING: u32 = 512 << 10;

/// Binds a UDP socket for each of so many shards, or for one if there cannot be more; with buffers of this size.
pub(crate) fn bind(
    address: SocketAddr,
    shards: u8,
    buffer: usize,
) -> io::Result<(Vec<Socket>, Group)> {
    let (sockets, group) = sockets::bind(address, shards)?;
    for socket in &sockets {
        // The system may grant less, which costs speed only.
        if let Err(error) = socket
            .set_recv_buffer_size(buffer)
            .and_then(|()| socket.set_send_buffer_size(buffer))
        {
            log::debug!("the UDP socket's buffers stay as they are: {error}");
        }
    }
    Ok((sockets, group))
}

/// Runs an s2n-quic endpoint on a bound socket and an executor.
#[derive(Debug)]
pub(crate) struct SmolIo {
    pub(crate) socket: Socket,
    pub(crate) gso: bool,
    pub(crate) executor: Arc<Executor<'static>>,
    pub(crate) outage: Arc<Outage>,
}

/// Where the tasks of the sockets say that they cannot go on.
#[derive(Debug)]
pub(crate) struct Outage {
    waker: Waker,
    cause: Mutex<Option<Error>>,
}

impl Outage {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            waker,
            cause: Mutex::default(),
        }
    }

    /// Why the endpoint cannot work any more.
    pub(crate) fn cause(&self) -> Option<Error> {
        lock(&self.cause).take()
    }

    fn begin(&self, what: &'static str, cause: io::Error) {
        *lock(&self.cause) = Some(Error::System { what, cause });
        self.waker.wake_by_ref();
    }
}

impl Provider for SmolIo {
    type PathHandle = message::Handle;
    type Error = io::Error;

    fn start<E: Endpoint<PathHandle = Self::PathHandle>>(
        self,
        mut endpoint: E,
    ) -> io::Result<SocketAddress> {
        let local = self
            .socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a UDP socket has an IP address"))?;
        let mut mtu = mtu::Config::builder()
            .with_max_mtu(MAX_MTU)
            .map_err(io::Error::other)?
            .build()
            .map_err(io::Error::other)?;
        if !syscall::configure_mtu_disc(&self.socket) {
            // Without "don't fragment" probes prove nothing.
            mtu = mtu::Config::MIN;
        }
        let gro = syscall::configure_gro(&self.socket);
        syscall::configure_pktinfo(&self.socket);
        syscall::configure_tos(&self.socket);
        let sending: UdpSocket = self.socket.try_clone()?.into();
        let receiving: UdpSocket = self.socket.into();
        let (stats_in, stats_out) = stats::channel();

        let size = if gro { MAX_RECEIVE } else { MAX_MTU };
        let (producer, consumer) = ring::pair::<Packet>(entries(RECEIVE_RING, size), size.into());
        let socket = UdpPort(Async::new(receiving)?);
        let receiver = Receiver::new(producer, socket, None, Cooldown::new(0), stats_in.clone());
        let max_receive = MaxMtu::try_from(size).map_err(io::Error::other)?;
        let address: SocketAddress = local.into();
        let rx = Rx::new(vec![consumer], max_receive, address.into());

        let segments = if self.gso {
            MaxSegments::DEFAULT
        } else {
            MaxSegments::try_from(1).map_err(|e| io::Error::other(e.to_string()))?
        };
        let gso = Gso::from(segments);
        let size = usize::from(u16::from(mtu.max_mtu())).saturating_mul(gso.max_segments());
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        let (producer, consumer) = ring::pair::<Packet>(entries(SEND_RING, size), size.into());
        let socket = UdpPort(Async::new(sending)?);
        let sender = Sender::new(consumer, socket, gso.clone(), Cooldown::new(0), stats_in);
        let tx = Tx::new(vec![producer], gso, mtu.max_mtu());

        endpoint.set_mtu_config(mtu);
        let event_loop = EventLoop {
            endpoint,
            clock: Epoch(Instant::now()),
            rx,
            tx,
            cooldown: Cooldown::new(0),
            stats: stats_out,
        };
        let (outage, again) = (Arc::clone(&self.outage), self.outage);
        let receiving = async move {
            if let Some(cause) = receiver.await {
                outage.begin("receiving from the UDP socket", cause);
            }
        };
        let sending = async move {
            if let Some(cause) = sender.await {
                again.begin("sending to the UDP socket", cause);
            }
        };
        self.executor.spawn(receiving).detach();
        self.executor.spawn(sending).detach();
        self.executor.spawn(event_loop.start(address)).detach();
        Ok(address)
    }
}

/// Number of ring entries for that many bytes; the ring wants a power of two.
const fn entries(bytes: u32, size: u16) -> u32 {
    #[expect(clippy::as_conversions, reason = "widening, in a const fn")]
    (bytes / size as u32).next_power_of_two()
}

/// A non-blocking UDP socket that async-io watches.
struct UdpPort(Async<UdpSocket>);

/// Calls `poll` until it registers the waker or confirms readiness: the first `Ready` may be left over from an event that
/// was already consumed. True if the socket is ready after all.
fn confirm_ready(mut poll: impl FnMut() -> Poll<io::Result<()>>) -> io::Result<bool> {
    for _ in 0..2 {
        match poll() {
            Poll::Ready(result) => result?,
            Poll::Pending => return Ok(false),
        }
    }
    Ok(true)
}

impl<M: UnixMessage> rx::Socket<M> for UdpPort {
    type Error = io::Error;

    fn recv(
        &mut self,
        cx: &mut Context<'_>,
        entries: &mut [M],
        events: &mut rx::Events,
        stats: &stats::Sender,
    ) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        M::recv(fd, SocketType::NonBlocking, entries, events, stats);
        if events.is_blocked() && confirm_ready(|| self.0.poll_readable(cx))? {
            events.take_blocked();
        }
        Ok(())
    }
}

impl<M: UnixMessage> tx::Socket<M> for UdpPort {
    type Error = io::Error;

    fn send(
        &mut self,
        cx: &mut Context<'_>,
        entries: &mut [M],
        events: &mut tx::Events,
        stats: &stats::Sender,
    ) -> io::Result<()> {
        M::send(self.0.as_raw_fd(), entries, events, stats);
        if events.is_blocked() && confirm_ready(|| self.0.poll_writable(cx))? {
            events.take_blocked();
        }
        Ok(())
    }
}

/// The endpoint's clock: time since it was created, as s2n-quic counts it.
#[derive(Clone, Copy, Debug)]
struct Epoch(Instant);

impl Epoch {
    /// The point that all timestamps of this clock count from; building one from a number would be `unsafe`.
    fn start() -> Timestamp {
        NoopClock.get_time()
    }
}

impl Clock for Epoch {
    fn get_time(&self) -> Timestamp {
        Self::start() + self.0.elapsed()
    }
}

impl ClockWithTimer for Epoch {
    type Timer = Alarm;

    fn timer(&self) -> Alarm {
        Alarm {
            epoch: self.0,
            target: None,
            timer: Timer::never(),
        }
    }
}

/// One deadline of the endpoint.
struct Alarm {
    epoch: Instant,
    target: Option<Instant>,
    timer: Timer,
}

impl QuicTimer for Alarm {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.target.is_none() {
            return Poll::Pending;
        }
        let ready = Pin::new(&mut self.timer).poll(cx);
        if ready.is_ready() {
            self.target = None;
        }
        ready.map(|_fired| ())
    }

    fn update(&mut self, timestamp: Timestamp) {
        // Whole milliseconds, rounded down: QUIC's timers are no finer, and re-arming costs a system call.
        let wait = timestamp.saturating_duration_since(Epoch::start());
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let target = self.epoch.checked_add(Duration::from_millis(millis));
        if target == self.target {
            return;
        }
        if let Some(at) = target {
            self.timer.set_at(at);
        }
        self.target = target;
    }
}
