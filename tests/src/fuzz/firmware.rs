//! What decides what a machine starts from: entries of its firmware, a FAT file system; and what disks say of themselves.

use diagnosis::{
    Health, SCSI_EXCEPTIONS, SCSI_READ_ERRORS, SCSI_WRITE_ERRORS, boot_entry, boot_order,
};

use super::feed::Feed;

/// Any bytes as each of them.
pub fn firmware(data: &[u8]) {
    let mut feed = Feed(data);
    let what = feed.byte() % 4;
    let bytes = feed.rest();
    match what {
        0 => {
            if let Some(order) = boot_order(bytes) {
                assert_eq!(order.len(), (bytes.len() - 4) / 2);
            }
        }
        1 => {
            if let Some(entry) = boot_entry(1, bytes) {
                assert!(entry.name.len() <= 3 * bytes.len());
            }
        }
        2 => fat(bytes),
        _ => {
            for code in [SCSI_EXCEPTIONS, SCSI_WRITE_ERRORS, SCSI_READ_ERRORS] {
                let page = [&[code], bytes].concat();
                let health = Health::of_scsi(Some(&page), Some(&page), Some(&page));
                assert!(health.is_none_or(|health| !health.words().is_empty()));
            }
        }
    }
}

/// The beginning of a partition whose rest is zero.
fn fat(bytes: &[u8]) {
    let mut count = 0;
    let mut read = |at: u64, len: usize| {
        count += 1;
        assert!(count < 30_000, "it reads for ever");
        assert!(len <= 2 << 20, "{len} bytes at once");
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let mut piece = bytes[start..].to_vec();
        piece.resize(len, 0);
        Ok(piece)
    };
    drop(disk::fat_has_file(
        &["EFI", "BOOT", "BOOTX64.EFI"],
        &mut read,
    ));
}
