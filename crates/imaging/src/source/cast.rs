//! A stream from the network.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cast_net::{ReceiveStatus, ReceivedStream, Stop};

use crate::piece::{Piece, Pieces};

/// A stream that is being received.
#[derive(Debug)]
pub struct Cast {
    stream: ReceivedStream,
    stop: Stop,
    timeout: Option<Duration>,
}

impl Cast {
    /// `stop` ends `stream`, which fails by itself when it is silent for `timeout`.
    #[must_use]
    pub fn new(stream: ReceivedStream, stop: Stop, timeout: Option<Duration>) -> Self {
        Self {
            stream,
            stop,
            timeout,
        }
    }

    pub(super) fn status(&self) -> Arc<ReceiveStatus> {
        self.stream.status()
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

impl Pieces for Cast {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        self.stream.take_slice(spare).map(Piece::from)
    }

    fn stopper(&self) -> Option<Stop> {
        Some(self.stop.clone())
    }

    /// Acknowledges the end: from here on the sender may report success.
    fn confirm(self) -> anyhow::Result<()> {
        self.stream.finish().context("ending the transfer")?;
        Ok(())
    }
}

impl Read for Cast {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}
