//! How disks and partitions of a plan are named.

use std::fmt;

/// One of the disks of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WhichDisk {
    /// Its place in [`DeployPlan::disks`](crate::DeployPlan::disks).
    pub index: usize,
    /// Its number in the image: `N` in `dN.mbr`.
    pub number: u32,
    /// Whether the image has no other one: then people need no number.
    pub is_only: bool,
}

impl WhichDisk {
    /// The only disk of an image.
    pub const ONLY: Self = Self {
        index: 0,
        number: 1,
        is_only: true,
    };

    /// The partition with this number.
    #[must_use]
    pub fn partition(self, number: u32) -> WhichPartition {
        WhichPartition { disk: self, number }
    }
}

impl fmt::Display for WhichDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_only {
            f.write_str("the disk")
        } else {
            write!(f, "disk {}", self.number)
        }
    }
}

/// One of the partitions of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WhichPartition {
    /// The disk that it is on.
    pub disk: WhichDisk,
    /// Its number in the disk's table.
    pub number: u32,
}

impl fmt::Display for WhichPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}", self.number)?;
        if self.disk.is_only {
            return Ok(());
        }
        write!(f, " of {}", self.disk)
    }
}

/// A partition of a plan, or a volume on one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WhichPlace {
    /// The partition.
    pub partition: WhichPartition,
    /// The name of the volume on it.
    pub volume: Option<String>,
}

impl From<WhichPartition> for WhichPlace {
    fn from(partition: WhichPartition) -> Self {
        Self {
            partition,
            volume: None,
        }
    }
}

impl fmt::Display for WhichPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(volume) = &self.volume {
            write!(f, "the volume {volume} of ")?;
        }
        self.partition.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_number_where_there_are_several() {
        let second = WhichDisk {
            index: 1,
            number: 2,
            is_only: false,
        };
        assert_eq!(second.to_string(), "disk 2");
        assert_eq!(second.partition(5).to_string(), "partition 5 of disk 2");
        assert_eq!(WhichDisk::ONLY.partition(5).to_string(), "partition 5");
    }
}
