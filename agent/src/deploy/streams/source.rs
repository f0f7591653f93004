//! Where streams come from.

use std::io::{self, Read};

use imaging::Piece;

use super::StreamError;
use crate::deploy::ending::Ending;
use crate::deploy::resume::Cause;

/// Where streams come from: the network, or memory in tests.
pub(crate) trait Sources {
    /// Opens the next stream; it begins to buffer at once. `index` counts from 0.
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>>;

    /// Whether the server promised a record in front of every stream, as far as known now.
    fn is_record_promised(&self) -> bool;

    /// Which stream the open source carries, by the server's word, where its bytes do not say so;
    /// `index` if the server says nothing. What is there has begun to come.
    fn confirm(&mut self, index: usize) -> usize;

    /// The open source carries this stream, whatever it was opened for.
    fn carries(&mut self, index: usize);

    /// After stream `index` has failed: waits for the server if need be, and answers with which stream
    /// it goes on from its first byte; `None` if the failure stands. The source is still open.
    fn resume(&mut self, index: usize, cause: Cause) -> Option<usize>;

    /// Called on an error, before the transfer is left: the chance to tell the server why.
    fn leaving(&mut self, error: &StreamError);
}

/// Where the streams of a whole deploy come from.
pub(crate) trait DeploySources: Sources {
    /// An error, and why it came to that if this is known.
    fn explain(&self, error: &StreamError) -> String;

    /// Whether the server knows why the transfer was left.
    fn is_server_told(&self) -> bool;

    /// What decides whether the table is written.
    fn ending(&self) -> Ending;
}

/// One stream on its way. End of file is only reported after the sender ended the stream properly.
pub(crate) trait Source: Read + Send {
    /// The next bytes, in `spare` if that helps; none at the end of file.
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece>;

    /// After the end of file: leaves the transfer, so that the next stream can be opened.
    fn close(self: Box<Self>) -> io::Result<()>;
}
