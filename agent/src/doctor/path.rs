//! The largest datagram that goes to a machine and back, by echoes that no router may cut.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use diagnosis::packet::{ECHO_HEADER_LEN, IP_HEADER_LEN, echo_reply, echo_request};
use diagnosis::{Look, PathLook, Skipped};
use socket2::{Domain, Protocol, Socket, Type};

use super::is_pause;

/// Tries sizes up to `mtu`.
pub(super) fn measure(to: Ipv4Addr, mtu: u32) -> Look<PathLook> {
    let failed = |error: io::Error| Skipped::Failed(format!("sending echoes to {to}: {error}"));
    let mut echo = Echo::open(to).map_err(failed)?;
    let tried = mtu.min(LARGEST);
    let passed = largest(tried, |size| echo.comes_back(size)).map_err(failed)?;
    Ok(PathLook { to, tried, passed })
}

/// The largest size up to `most` for which `passes`, to a few bytes; `None` if not even the smallest does.
fn largest(most: u32, mut passes: impl FnMut(u32) -> io::Result<bool>) -> io::Result<Option<u32>> {
    if passes(most)? {
        return Ok(Some(most));
    }
    let (mut low, mut high) = (SMALLEST.min(most), most);
    if !passes(low)? {
        return Ok(None);
    }
    while high - low > STEP {
        let middle = low + (high - low) / 2;
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}

struct Echo {
    socket: Socket,
    to: Ipv4Addr,
    id: u16,
    sequence: u16,
}

impl Echo {
    /// The kernel forbids routers to cut what a raw socket sends, as long as path MTU discovery is on, which
    /// it is by default.
    fn open(to: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_read_timeout(Some(TURN))?;
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        Ok(Self {
            socket,
            to,
            id: u16::from_be_bytes(id),
            sequence: 0,
        })
    }

    /// Whether one of a few echoes of this size, with the IP header, comes back.
    fn comes_back(&mut self, size: u32) -> io::Result<bool> {
        let headers = IP_HEADER_LEN + ECHO_HEADER_LEN;
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let len = len.saturating_sub(headers) + ECHO_HEADER_LEN;
        let first = self.sequence.wrapping_add(1);
        for _ in 0..TRIES {
            self.sequence = self.sequence.wrapping_add(1);
            let request = echo_request(self.id, self.sequence, len);
            match self
                .socket
                .send_to(&request, &SocketAddrV4::new(self.to, 0).into())
            {
                Ok(_) => {}
                // The kernel knows already that it is too large.
                Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            if self.hears_any(first)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hears_any(&mut self, first: u16) -> io::Result<bool> {
        let begin = Instant::now();
        let mut buffer = [0; LARGEST as usize];
        while begin.elapsed() < ANSWER {
            let len = match self.socket.read(&mut buffer) {
                Ok(len) => len,
                Err(error) if is_pause(&error) => continue,
                Err(error) => return Err(error),
            };
            let packet = buffer.get(..len).unwrap_or_default();
            let reply = echo_reply(packet, self.id, self.to);
            // One of another size that is late does not count.
            let is_of_these = reply.is_some_and(|number| {
                number.wrapping_sub(first) <= self.sequence.wrapping_sub(first)
            });
            if is_of_these {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// With the IP header. A jumbo frame has hardly more.
const LARGEST: u32 = 9216;
const SMALLEST: u32 = 100;
const STEP: u32 = 4;
const TRIES: u32 = 3;
const TURN: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_is_found_to_a_few_bytes() {
        for limit in [100, 101, 576, 1399, 1400, 1480, 1499] {
            let found = largest(1500, |size| Ok(size <= limit)).unwrap().unwrap();
            assert!(found <= limit && limit - found <= STEP, "{found} {limit}");
        }
        assert_eq!(largest(1500, |_| Ok(true)).unwrap(), Some(1500));
        assert_eq!(largest(1500, |_| Ok(false)).unwrap(), None);
        assert_eq!(largest(68, |size| Ok(size < 68)).unwrap(), None);
    }
}
