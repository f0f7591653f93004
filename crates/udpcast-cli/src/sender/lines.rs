//! Lines for a reader that may stand still: a thread of its own writes them, and what finds no place is left out and
//! counted. The transfer waits for no reader.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use conveyor::{Loader, NotPut, Unloader, conveyor};
use readable::{Count, Time};

use super::json;
use crate::messages::say;

/// Writes lines.
pub(super) struct Lines {
    queue: Loader<String, ()>,
    written: Arc<Written>,
    /// Items that were put on.
    put: u64,
    /// Lines left out since the last one that was put on, and in all.
    missing: u64,
    left_out: u64,
    is_broken: bool,
}

/// Lines that may wait, less than 300 bytes each; those of the end are one item.
const QUEUE: usize = 1024;

#[derive(Default)]
struct Written {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    items: u64,
    error: Option<io::Error>,
}

impl Lines {
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = conveyor(std::iter::repeat_n((), QUEUE));
        let written = Arc::<Written>::default();
        let shared = Arc::clone(&written);
        thread::Builder::new()
            .name("lines".into())
            .spawn(move || write(to, lines, &shared))?;
        Ok(Self {
            queue,
            written,
            put: 0,
            missing: 0,
            left_out: 0,
            is_broken: false,
        })
    }

    /// Never waits.
    pub(super) fn put(&mut self, lines: Vec<String>) {
        for line in lines {
            if !self.try_put(&line) {
                self.leave_out(1);
            }
        }
        self.report_trouble();
    }

    /// The last lines of a transfer. Waits until everything is written, for at most so long, and reports what was
    /// left out.
    pub(super) fn conclude(&mut self, lines: &[String], patience: Duration) {
        let until = Instant::now() + patience;
        let text = lines.concat();
        let written = Arc::clone(&self.written);
        let mut state = written.lock();
        let mut is_put = false;
        let waiting = loop {
            is_put = is_put || self.try_put(&text);
            let waiting = self.put - state.items;
            let is_over = is_put && waiting == 0;
            let left = until.saturating_duration_since(Instant::now());
            if is_over || state.error.is_some() || self.is_broken || left.is_zero() {
                break waiting;
            }
            let waited = written.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(state);
        if !is_put {
            self.leave_out(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        }
        self.report_trouble();
        if self.is_broken {
            return;
        }
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let lines = Count(left_out, "line");
            say(&format!(
                "standard output: {lines} of JSON left out, as they were not read in time"
            ));
        }
        if waiting > 0 {
            let time = Time(patience);
            say(&format!(
                "standard output: not read for {time}; lines of JSON that wait are lost"
            ));
        }
    }

    /// Puts an item on, and in front of it how many lines are missing there. `false`: there is no place.
    fn try_put(&mut self, item: &str) -> bool {
        if self.is_broken {
            return true;
        }
        let item = match self.missing {
            0 => item.to_owned(),
            missing => json::left_out(missing) + item,
        };
        match self.queue.try_put(item) {
            Ok(()) => {
                self.put += 1;
                self.missing = 0;
                true
            }
            Err(NotPut::Full(_)) => false,
            // Its thread has left an error.
            Err(NotPut::Gone) => true,
        }
    }

    fn leave_out(&mut self, lines: u64) {
        self.missing = self.missing.saturating_add(lines);
        self.left_out = self.left_out.saturating_add(lines);
    }

    /// A reader that has gone is no reason to end a transfer; that is reported once.
    fn report_trouble(&mut self) {
        let error = self.written.lock().error.take();
        if let Some(error) = error {
            self.is_broken = true;
            say(&format!("standard output: {error}; no more lines of JSON"));
        }
    }
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(mut to: impl Write, mut lines: Unloader<String, ()>, written: &Written) {
    while let Ok(Some(text)) = lines.take() {
        let result = to.write_all(text.as_bytes()).and_then(|()| to.flush());
        let mut state = written.lock();
        match result {
            Ok(()) => state.items += 1,
            Err(error) => state.error = Some(error),
        }
        let is_broken = state.error.is_some();
        drop(state);
        written.changed.notify_all();
        if is_broken {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// Writes one line each time that it may, and then without being asked.
    struct Slow {
        begun: Sender<()>,
        may: Receiver<()>,
        text: Arc<Mutex<String>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.begun.send(()).unwrap_or_default();
            // The other end is dropped when nothing holds it up any more.
            self.may.recv().unwrap_or_default();
            let mut text = self.text.lock().unwrap();
            text.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The first line is on its way to the reader.
    fn slow() -> (Lines, Sender<()>, Arc<Mutex<String>>) {
        let (go, may) = channel();
        let (begun, has_begun) = channel();
        let text = Arc::<Mutex<String>>::default();
        let to = Slow {
            begun,
            may,
            text: Arc::clone(&text),
        };
        let mut lines = Lines::start(to).unwrap();
        lines.put(vec!["first\n".into()]);
        has_begun.recv().unwrap();
        (lines, go, text)
    }

    fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("{number}\n")).collect()
    }

    #[test]
    fn a_reader_that_stands_still_holds_nothing_up_and_the_gap_is_counted() {
        let (mut lines, go, text) = slow();
        let count = 3 * QUEUE;
        lines.put(numbered(0..count));
        let missing = count - QUEUE;
        assert_eq!(lines.missing, u64::try_from(missing).unwrap());
        drop(go);
        lines.conclude(&["last\n".into()], LONG);
        let text = text.lock().unwrap();
        let mut expected = vec!["first\n".into()];
        expected.extend(numbered(0..QUEUE));
        expected.push(json::left_out(missing.try_into().unwrap()));
        expected.push("last\n".into());
        assert!(*text == expected.concat());
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (mut lines, go, text) = slow();
        lines.put(numbered(0..3 * QUEUE));
        lines.conclude(&["last\n".into()], Duration::ZERO);
        assert_eq!(*text.lock().unwrap(), "");
        drop(go);
        // The next transfer of the same program.
        lines.conclude(&["next\n".into()], LONG);
        let text = text.lock().unwrap();
        assert!(!text.contains("last\n"), "there was no place");
        assert!(text.ends_with("next\n"));
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_lines() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut lines = Lines::start(Gone).unwrap();
        lines.conclude(&numbered(0..1), LONG);
        assert!(lines.is_broken);
        lines.put(numbered(0..3 * QUEUE));
        assert_eq!(lines.left_out, 0);
    }
}
