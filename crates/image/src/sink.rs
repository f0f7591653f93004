//! Where the extents go.

use crate::geometry::Geometry;

/// Takes what an image holds.
pub trait Sink {
    /// The header and the bitmap are good: called once, before any extent.
    ///
    /// # Errors
    /// Ends the decoding.
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError>;

    /// `data` belongs at byte `offset` of the target. Together the extents are the used blocks; they do
    /// not overlap, and one is seldom longer than a strip. They may come in any order: a sink that
    /// cannot go back refuses. (All formats that are read today have them in ascending order.)
    ///
    /// # Errors
    /// Ends the decoding.
    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError>;
}

/// Why a [`Sink`] gave up.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;
