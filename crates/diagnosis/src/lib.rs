//! What keeps a machine from being deployed: from evidence to causes, each with what to do.
//!
//! [`Evidence`] is what probes have seen. [`diagnose()`] makes [`Cause`]s of it, the one that explains the
//! others first; [`checks()`] says what was looked at and what was seen. The parsers of what comes from the
//! network for this purpose alone ([`packet`]) are here, too. The crate does no input or output.

#![warn(missing_docs)]

mod cause;
mod checks;
mod evidence;
mod firmware;
mod health;
pub mod packet;
pub mod report;
mod rules;
pub mod trial;

pub use cause::{Cause, Silence};
pub use checks::{Area, Check, Verdict, checks};
pub use evidence::{
    Address, Card, Clock, Counters, DiskLook, Duplex, Evidence, FirstAnswer, Look, Memory,
    Multicast, Neighbour, NextHop, PathLook, Querier, Reach, ReadTest, Rendezvous, Resolution,
    Route, Sending, ServerLook, Skipped, Traffic, WebAnswer,
};
pub use firmware::{
    Boot, BootDisk, BootEntry, EfiPartition, NoBoot, PartitionId, boot_entry, boot_order,
};
pub use health::{Health, SCSI_EXCEPTIONS, SCSI_READ_ERRORS, SCSI_WRITE_ERRORS};
pub use rules::{diagnose, is_cut_off};
