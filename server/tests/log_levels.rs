//! What the machine's log gets; alone in its process, as a subscriber is global.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fos_server::clock;
use fos_server::logs::{MulticastLog, Subject};

#[test]
fn levels_and_subjects_reach_the_machine() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer({
            let seen = Arc::clone(&seen);
            move || Sink(Arc::clone(&seen))
        })
        .init();
    let dir = tempfile::tempdir().unwrap();
    let log = MulticastLog::new(dir.path()).unwrap();
    let now = clock::now();
    log.warn(now, &Subject::Host("LAB-01".into()), "look");
    log.error(now, &Subject::Server, "broken");
    log.session(now, 3, "lab", "starts\u{202e}");
    assert!(log.close(Duration::from_secs(60)));
    let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let expected = [
        "WARN host LAB-01: look",
        "ERROR server: broken",
        "INFO session 3: starts\u{fffd}",
    ];
    assert_eq!(lines, expected);
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no writer panics")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
