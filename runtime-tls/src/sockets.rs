//! UDP sockets: one, or one for each shard of a server at the same address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use log::{debug, warn};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Shard;

/// The sockets of all shards at one address, for each shard to hold on to until it has ended.
///
/// The system tells sockets apart by their number, and gives that of one that is closed to another: the packets of shards that
/// have not ended yet would go astray. So none is closed before the last shard has ended.
#[derive(Clone, Debug, Default)]
pub struct Group {
    _all: Arc<[Socket]>,
}

impl Group {
    fn of(sockets: &[Socket]) -> io::Result<Self> {
        if sockets.len() == 1 {
            return Ok(Self::default());
        }
        let all = sockets.iter().map(Socket::try_clone);
        Ok(Self {
            _all: all.collect::<io::Result<_>>()?,
        })
    }
}

/// Binds a non-blocking socket for each of so many shards to `address`, in their order; only one if the system cannot tell
/// which packet belongs to which, which is logged.
///
/// The unspecified IPv6 address serves IPv4 too, and becomes `0.0.0.0` where there is no IPv6.
///
/// # Errors
/// If the address cannot be had.
pub fn bind(address: SocketAddr, shards: u8) -> io::Result<(Vec<Socket>, Group)> {
    let first = match open(address, false) {
        Err(cause) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && lacks_ipv6(&cause) => {
            debug!("no IPv6 here ({cause}): listening on IPv4 only");
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            open(address, false)?
        }
        other => other?,
    };
    let more = match beside(&first, shards) {
        Ok(more) => more,
        Err(cause) => {
            warn!(
                "one thread instead of {shards}: the system does not divide the packets of one port among several \
                 sockets by connection ({cause})"
            );
            Vec::new()
        }
    };
    let all: Vec<Socket> = std::iter::once(first).chain(more).collect();
    let group = Group::of(&all)?;
    Ok((all, group))
}

/// The sockets of the shards after the first, which the system has been told how to choose among.
fn beside(first: &Socket, shards: u8) -> io::Result<Vec<Socket>> {
    let count = Shard::all(shards).count();
    if count == 1 {
        return Ok(Vec::new());
    }
    let address = first.local_addr()?.as_socket();
    let address = address.ok_or_else(|| io::Error::other("the socket has no IP address"))?;
    // Only now: had it been so before it was bound, another relay with the same port would not have been noticed.
    share_port(first, true)?;
    let opened: io::Result<Vec<Socket>> = (1..count).map(|_| open(address, true)).collect();
    let result = opened.and_then(|more| steer(first, shards).map(|()| more));
    if result.is_err() {
        share_port(first, false)?;
    }
    result
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if shared {
        share_port(&socket, true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Not there at all (`EAFNOSUPPORT`), or there but switched off (`EADDRNOTAVAIL`).
fn lacks_ipv6(cause: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    cause.kind() == io::ErrorKind::AddrNotAvailable || cause.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(target_os = "linux")]
fn share_port(socket: &Socket, shared: bool) -> io::Result<()> {
    socket.set_reuse_port(shared)
}

/// Elsewhere sockets can share a port, too, but which of them gets a packet cannot be chosen.
#[cfg(not(target_os = "linux"))]
fn share_port(_socket: &Socket, _shared: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has the system choose the socket by the first byte of a packet's Destination Connection ID, whose place RFC 8999 fixes for
/// every version of QUIC. Packets that are too short for one go to the first socket.
#[cfg(target_os = "linux")]
fn steer(group: &Socket, shards: u8) -> io::Result<()> {
    use nix::libc::{sock_filter, sock_fprog};
    use nix::sys::socket::setsockopt;
    use nix::sys::socket::sockopt::AttachReusePortCbpf;

    // Classic BPF, as linux/filter.h numbers it. A is the accumulator.
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    const REMAINDER: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
    const RETURN: u16 = 0x16; // BPF_RET | BPF_A
    const LONG_HEADER: u32 = 0x80;

    let step = |code, k| sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let mut steps = [
        // The first byte of the UDP payload tells the form of the header.
        step(LOAD_BYTE, 0),
        sock_filter {
            jf: 2,
            ..step(JUMP_IF_SET, LONG_HEADER)
        },
        // Long: after the version and the id's length.
        step(LOAD_BYTE, 6),
        step(JUMP, 1),
        // Short: at once.
        step(LOAD_BYTE, 1),
        step(REMAINDER, u32::from(shards.clamp(1, Shard::MAX))),
        step(RETURN, 0),
    ];
    let program = sock_fprog {
        len: u16::try_from(steps.len()).map_err(io::Error::other)?,
        filter: steps.as_mut_ptr(),
    };
    // The system copies the program before this returns.
    Ok(setsockopt(group, AttachReusePortCbpf, &program)?)
}

#[cfg(not(target_os = "linux"))]
fn steer(_group: &Socket, _shards: u8) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn group(address: SocketAddr, shards: u8) -> (u16, Vec<UdpSocket>, Group) {
        let (sockets, group) = bind(address, shards).unwrap();
        let sockets: Vec<UdpSocket> = sockets.into_iter().map(UdpSocket::from).collect();
        let ports: Vec<u16> = sockets
            .iter()
            .map(|it| it.local_addr().unwrap().port())
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
        (ports[0], sockets, group)
    }

    /// The packet that is in exactly one of the sockets, and in which.
    fn find(sockets: &[UdpSocket]) -> (usize, Vec<u8>) {
        let mut found = None;
        let mut buffer = [0; 64];
        for (index, socket) in sockets.iter().enumerate() {
            if let Ok(length) = socket.recv(&mut buffer) {
                assert!(found.is_none());
                found = Some((index, buffer[..length].to_vec()));
            }
        }
        found.expect("on the loopback interface a packet is there when it is sent")
    }

    fn send(port: u16, packet: &[u8]) {
        // A socket of its own each: nothing but the id decides.
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.send_to(packet, ("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn packets_find_their_shard_by_the_first_byte_of_the_connection_id() {
        for (address, count) in [
            (LOOPBACK, 2),
            (LOOPBACK, 3),
            // Reached by IPv4, or fallen back to it.
            (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), 5),
        ] {
            let (port, sockets, _group) = group(address, count);
            assert_eq!(sockets.len(), usize::from(count));
            for first in 0..=u8::MAX {
                let expected = usize::from(first % count);
                let long = [0xc0, 0, 0, 0, 1, 8, first, 0xff, 0xff];
                let short = [0x40, first, 0xff, 0xff, 0xff, 0xff, 0xff];
                for packet in [&long[..], &short[..]] {
                    send(port, packet);
                    assert_eq!(find(&sockets), (expected, packet.to_vec()));
                }
            }
            for runt in [&[][..], &[0x40], &[0xc0, 0, 0, 0, 1, 8]] {
                send(port, runt);
                assert_eq!(find(&sockets), (0, runt.to_vec()));
            }
        }
    }

    #[test]
    fn packets_still_find_their_shard_when_others_have_ended() {
        let (port, mut sockets, _group) = group(LOOPBACK, 4);
        sockets.drain(..2);
        for first in 0..=u8::MAX {
            let packet = [0x40, first, 0xff, 0xff, 0xff];
            send(port, &packet);
            if let Some(left) = usize::from(first % 4).checked_sub(2) {
                assert_eq!(find(&sockets), (left, packet.to_vec()));
            } else {
                let mut buffer = [0; 64];
                let heard = sockets.iter().any(|it| it.recv(&mut buffer).is_ok());
                assert!(!heard, "the packet was for a shard that has ended");
            }
        }
    }

    #[test]
    fn a_port_in_use_is_noticed_however_many_shards_there_are() {
        for (mine, theirs) in [(1, 1), (2, 1), (1, 2), (3, 3)] {
            let (port, _sockets, _group) = group(LOOPBACK, mine);
            let error = bind(SocketAddr::new(LOOPBACK.ip(), port), theirs).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn sockets_do_not_block() {
        let (_, sockets, _group) = group(LOOPBACK, 2);
        for socket in sockets {
            socket
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            let error = socket.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
