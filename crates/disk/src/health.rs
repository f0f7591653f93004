//! Asking a disk for its health, raw: what the answers mean is not known here.

use std::fs::File;
use std::io;

use crate::sys;

/// Bytes of each answer.
pub const HEALTH_PAGE_LEN: usize = 512;

/// The log page with the health of an NVMe disk. Needs the right to administer the system.
///
/// # Errors
/// It is no NVMe disk, or does not answer.
pub fn nvme_health(device: &File) -> io::Result<[u8; HEALTH_PAGE_LEN]> {
    sys::nvme_log_page(device, NVME_HEALTH)
}

/// What a SATA disk answers to "SMART return status": sense data.
///
/// # Errors
/// The kernel cannot ask it.
pub fn ata_smart_status(device: &File) -> io::Result<Vec<u8>> {
    sys::ata_smart(device, SMART_STATUS, None)
}

/// What it answers to "SMART read data": a sector.
///
/// # Errors
/// The kernel cannot ask it.
pub fn ata_smart_data(device: &File) -> io::Result<[u8; HEALTH_PAGE_LEN]> {
    let mut data = [0; HEALTH_PAGE_LEN];
    sys::ata_smart(device, SMART_DATA, Some(&mut data))?;
    Ok(data)
}

/// A log page of a SCSI or SAS disk: at most [`HEALTH_PAGE_LEN`] bytes of it.
///
/// # Errors
/// It has no such page, or the kernel cannot ask it.
pub fn scsi_log_page(device: &File, page: u8) -> io::Result<Vec<u8>> {
    sys::scsi_log_page(device, page)
}

const NVME_HEALTH: u8 = 2;
const SMART_STATUS: u8 = 0xda;
const SMART_DATA: u8 = 0xd0;
