//! The kernel's messages, for a page that is drawn over them.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};

use fog::encoding::printable;

use super::Board;

/// From now on errors that the kernel reports are among the lines of a page. Without `/dev/kmsg` they are only
/// where the kernel prints them.
pub(crate) fn follow(board: &Board) {
    let Ok(mut log) = File::open("/dev/kmsg") else {
        return;
    };
    if log.seek(SeekFrom::End(0)).is_err() {
        return;
    }
    let board = board.clone();
    let thread = std::thread::Builder::new()
        .name("kernel".into())
        .spawn(move || read(log, |text| board.say_on_page(format!("kernel: {text}"))));
    drop(thread);
}

/// Reads records to the end, of which a log of the kernel has none.
fn read(mut log: impl Read, mut show: impl FnMut(String)) {
    // A record that is longer than that is an error of its own (EINVAL), and skipped.
    let mut record = vec![0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(0) => return,
            Ok(len) => {
                if let Some(text) = error(&record[..len]) {
                    show(text);
                }
            }
            // Some were overwritten before they were read, or one was too long.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::Interrupted | ErrorKind::InvalidInput
                ) => {}
            Err(_) => return,
        }
    }
}

/// The text of a record (Linux `Documentation/ABI/testing/dev-kmsg`) if it is the kernel's own and tells an
/// error or worse.
fn error(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (head, rest) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    // Facility and level: syslog(3).
    let is_kernel = priority >> 3 == 0;
    let text = rest.lines().next().filter(|text| !text.is_empty())?;
    (is_kernel && priority & 7 <= ERROR).then(|| printable(text, LONGEST))
}

const RECORD: usize = 8192;
const ERROR: u32 = 3;
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_are_told_and_nothing_else() {
        let disk =
            b"3,339,5140900,-;blk_update_request: I/O error, dev sda, sector 9\n SUBSYSTEM=block\n";
        let text = "blk_update_request: I/O error, dev sda, sector 9";
        assert_eq!(error(disk).as_deref(), Some(text));
        for other in [
            &b"4,340,5140901,-;a warning\n"[..],
            b"11,341,5140902,-;an error of a program\n",
            b"3,342,5140903,-;",
            b"3,343",
            b"x,1,1,-;y\n",
            b"",
            b"\xff\xfe;\n",
        ] {
            assert_eq!(error(other), None, "{other:?}");
        }
        let hostile = error(b"0,1,1,-;\x1b[2Jgone\n").unwrap();
        assert!(!hostile.contains('\x1b'), "{hostile:?}");
    }

    #[test]
    fn what_was_overwritten_does_not_end_it() {
        struct Log(Vec<std::io::Result<&'static [u8]>>);
        impl Read for Log {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let record = self.0.pop().unwrap_or(Ok(b""))?;
                buffer[..record.len()].copy_from_slice(record);
                Ok(record.len())
            }
        }
        let log = Log(vec![
            Ok(b"2,3,3,-;second\n"),
            Err(ErrorKind::BrokenPipe.into()),
            Ok(b"6,2,2,-;chatter\n"),
            Ok(b"3,1,1,-;first\n"),
        ]);
        let mut shown = Vec::new();
        read(log, |text| shown.push(text));
        assert_eq!(shown, ["first", "second"]);
    }
}
