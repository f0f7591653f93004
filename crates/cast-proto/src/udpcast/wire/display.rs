//! Messages for people, one line each, in the manner of tcpdump.

use std::fmt;

use super::{Capabilities, HelloKind, Message};
use crate::bitmap::Bitmap;

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(slice) => write!(f, "OK slice {slice}"),
            Self::Retransmit(retransmit) => {
                let (slice, round) = (retransmit.slice, retransmit.round);
                write!(f, "RETRANSMIT slice {slice}, round {round}, has ")?;
                ranges(f, &retransmit.received)
            }
            Self::Go => f.write_str("GO"),
            Self::ConnectReq(request) => {
                write!(
                    f,
                    "CONNECT_REQ {}, rcvbuf {}",
                    request.capabilities, request.rcvbuf
                )
            }
            Self::Disconnect => f.write_str("DISCONNECT"),
            Self::ReqAck(request) => {
                let (slice, round, len) = (request.slice, request.round, request.slice_len);
                write!(
                    f,
                    "REQACK slice {slice}, round {round}, slice length {len}, ready "
                )?;
                ranges(f, &request.ready)
            }
            Self::ConnectReply(reply) => {
                match reply.client {
                    Some(client) => write!(f, "CONNECT_REPLY {client}")?,
                    None => f.write_str("CONNECT_REPLY refused")?,
                }
                let (capabilities, group) = (reply.capabilities, reply.data_address);
                write!(
                    f,
                    ", {capabilities}, data to {group}, block size {}",
                    reply.block_size
                )
            }
            Self::Data(data) => {
                let (slice, block, len) = (data.slice, data.block, data.slice_len);
                write!(f, "DATA slice {slice}, block {block}, slice length {len}, ")?;
                write!(f, "length {}", data.payload.len())
            }
            Self::Fec(fec) => {
                let (slice, block, len) = (fec.slice, fec.block, fec.slice_len);
                write!(
                    f,
                    "FEC slice {slice}, block {block}, stripes {}, ",
                    fec.stripes
                )?;
                write!(f, "slice length {len}, length {}", fec.payload.len())
            }
            Self::Hello(hello) => {
                let name = match hello.kind {
                    HelloKind::Plain => "HELLO",
                    HelloKind::PlainNew => "HELLO (0x000a)",
                    HelloKind::Streaming => "HELLO_STREAMING",
                };
                let (capabilities, group) = (hello.capabilities, hello.data_address);
                write!(
                    f,
                    "{name} {capabilities}, data to {group}, block size {}",
                    hello.block_size
                )?;
                if hello.capabilities.contains(Capabilities::ASYNCHRONOUS) {
                    f.write_str(", asynchronous")?;
                }
                Ok(())
            }
            Self::Unknown(opcode) => write!(f, "unknown opcode {opcode:#06x}"),
        }
    }
}

/// The set as "0,2-4,6-15", or "none".
fn ranges(f: &mut fmt::Formatter<'_>, set: &Bitmap) -> fmt::Result {
    let mut items = set.iter().peekable();
    if items.peek().is_none() {
        return f.write_str("none");
    }
    let mut separator = "";
    while let Some(start) = items.next() {
        let mut end = start;
        while let Some(next) = items.next_if_eq(&(end + 1)) {
            end = next;
        }
        if start == end {
            write!(f, "{separator}{start}")?;
        } else {
            write!(f, "{separator}{start}-{end}")?;
        }
        separator = ",";
    }
    Ok(())
}
