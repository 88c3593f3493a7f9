//! The UDP socket: many packets per system call both ways, IPv4 and IPv6 on one.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::BytesMut;
use log::{debug, info, warn};
use quinn_proto::Transmit;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::io::Interest;

/// The kernel joins datagrams up to the largest size that IP allows.
const BUFFER_SIZE: usize = 1 << 16;
/// More segments in one call save little, but keep other connections waiting.
const MAX_SEGMENTS: usize = 40;

/// A bound UDP socket that no runtime watches yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: UdpSocket,
    udp: UdpSocketState,
    address: SocketAddr,
    gso: bool,
}

impl Bound {
    /// Takes a socket that is bound to an address.
    pub(crate) fn new(socket: UdpSocket, buffer: usize, gso: bool) -> io::Result<Self> {
        let udp = UdpSocketState::new((&socket).into())?;
        for result in [
            udp.set_recv_buffer_size((&socket).into(), buffer),
            udp.set_send_buffer_size((&socket).into(), buffer),
        ] {
            if let Err(cause) = result {
                warn!("the socket's buffers keep their size: {cause}");
            }
        }
        let granted = udp.recv_buffer_size((&socket).into()).unwrap_or_default();
        if granted < buffer {
            info!(
                "the system grants {granted} of {buffer} bytes for packets received at once; on Linux raise \
                 net.core.rmem_max and wmem_max to serve many peers"
            );
        }
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            udp,
            address,
            gso,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the network may cut packets into pieces, so that probing for a larger packet size is pointless.
    pub(crate) fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }

    /// Has the current runtime watch it.
    pub(crate) fn watch(self) -> io::Result<Socket> {
        Ok(Socket {
            socket: tokio::net::UdpSocket::from_std(self.socket)?,
            udp: self.udp,
            gso: self.gso,
            ipv6: self.address.is_ipv6(),
            batch: Batch {
                buffers: vec![0; BUFFER_SIZE * BATCH_SIZE],
                metas: [RecvMeta::default(); BATCH_SIZE],
                filled: 0,
                next: (0, 0),
            },
        })
    }
}

/// A UDP socket that the current runtime watches.
pub(crate) struct Socket {
    socket: tokio::net::UdpSocket,
    udp: UdpSocketState,
    gso: bool,
    ipv6: bool,
    batch: Batch,
}

/// What one call received: buffers, each with one packet or several of one size.
struct Batch {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
    /// The next packet: in which buffer, and where in it.
    next: (usize, usize),
}

/// One packet received, with where it came from and where to.
pub(crate) struct Packet {
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: Option<quinn_proto::EcnCodepoint>,
    /// In an allocation of its own, so that what is kept of it pins one packet and not the whole batch.
    pub(crate) bytes: BytesMut,
}

impl Socket {
    /// How many packets one transmit may hold.
    pub(crate) fn max_segments(&self) -> usize {
        if self.gso {
            self.udp.max_gso_segments().min(MAX_SEGMENTS)
        } else {
            1
        }
    }

    /// The form in which this socket takes a peer's address, or `None` if it cannot reach it.
    pub(crate) fn reach(&self, address: SocketAddr) -> Option<SocketAddr> {
        match (address.ip(), self.ipv6) {
            (IpAddr::V4(ip), true) => Some(SocketAddr::from((ip.to_ipv6_mapped(), address.port()))),
            (IpAddr::V6(_), false) => None,
            (IpAddr::V4(_), false) | (IpAddr::V6(_), true) => Some(address),
        }
    }

    /// Resolves when the socket may have something to read, or room if that is asked for too.
    pub(crate) async fn ready(&self, room_too: bool) -> io::Result<()> {
        let interest = if room_too {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        self.socket.ready(interest).await.map(|_| ())
    }

    /// Receives one batch, to be taken with [`Self::next_packet`]. False: there was nothing.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        let Batch { buffers, metas, .. } = &mut self.batch;
        let mut buffers: Vec<IoSliceMut<'_>> = buffers
            .chunks_mut(BUFFER_SIZE)
            .map(IoSliceMut::new)
            .collect();
        let (socket, udp) = (&self.socket, &self.udp);
        let received = socket.try_io(Interest::READABLE, || {
            udp.recv(socket.into(), &mut buffers, metas)
        });
        self.batch.next = (0, 0);
        self.batch.filled = 0;
        match received {
            Ok(filled) => {
                self.batch.filled = filled;
                Ok(true)
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // Another peer's port was closed, or the call was interrupted: nothing of ours is lost.
            Err(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                        | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(true)
            }
            Err(cause) => Err(cause),
        }
    }

    /// The next packet of the batch.
    pub(crate) fn next_packet(&mut self) -> Option<Packet> {
        let batch = &mut self.batch;
        loop {
            let (index, offset) = batch.next;
            if index >= batch.filled {
                return None;
            }
            let meta = batch.metas.get(index)?;
            let end = meta.len.min(offset.saturating_add(meta.stride));
            if offset >= end {
                batch.next = (index + 1, 0);
                continue;
            }
            batch.next = (index, end);
            let start = index * BUFFER_SIZE;
            let bytes = batch.buffers.get(start + offset..start + end)?;
            return Some(Packet {
                remote: meta.addr,
                local: meta.dst_ip,
                ecn: meta.ecn.map(from_udp),
                bytes: BytesMut::from(bytes),
            });
        }
    }

    /// Sends; false if the socket has no room now. Any other failure counts as loss, which QUIC repairs.
    pub(crate) fn send(&self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let packet = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.map(to_udp),
            contents: bytes.get(..transmit.size).unwrap_or(bytes),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        let (socket, udp) = (&self.socket, &self.udp);
        match socket.try_io(Interest::WRITABLE, || udp.try_send(socket.into(), &packet)) {
            Ok(()) => true,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => false,
            Err(cause) => {
                // Such as EMSGSIZE for a probe of a larger packet size.
                debug!(
                    "packet of {} bytes to {} was not sent: {cause}",
                    transmit.size, transmit.destination
                );
                true
            }
        }
    }
}

const fn from_udp(ecn: quinn_udp::EcnCodepoint) -> quinn_proto::EcnCodepoint {
    match ecn {
        quinn_udp::EcnCodepoint::Ect0 => quinn_proto::EcnCodepoint::Ect0,
        quinn_udp::EcnCodepoint::Ect1 => quinn_proto::EcnCodepoint::Ect1,
        quinn_udp::EcnCodepoint::Ce => quinn_proto::EcnCodepoint::Ce,
    }
}

const fn to_udp(ecn: quinn_proto::EcnCodepoint) -> quinn_udp::EcnCodepoint {
    match ecn {
        quinn_proto::EcnCodepoint::Ect0 => quinn_udp::EcnCodepoint::Ect0,
        quinn_proto::EcnCodepoint::Ect1 => quinn_udp::EcnCodepoint::Ect1,
        quinn_proto::EcnCodepoint::Ce => quinn_udp::EcnCodepoint::Ce,
    }
}
