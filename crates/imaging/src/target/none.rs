//! An image that is only read.

use image::{Geometry, Sink, SinkError};

use super::commit::Target;

/// Takes an image and forgets it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _geometry: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    fn extent(&mut self, _offset: u64, _data: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Target for Nowhere {
    fn commit(self, _geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }
}
