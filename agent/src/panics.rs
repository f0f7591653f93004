//! What becomes of a panic: the end of the process.
//!
//! A panic is a programming error, and the other threads cannot go on as if there was none. So the process ends in the
//! thread that panicked, after what remains to be done (the reason is left for PID 1, say, or PID 1 restarts the
//! machine), and nothing is unwound. It is so in each profile, whether it has tables for unwinding or not.

use std::sync::OnceLock;

use nix::libc;

/// Exit code after a panic, as Rust has it.
pub(crate) const PANICKED: i32 = 101;

/// What remains to be done; it is given the text of the panic, in one line.
type Last = Box<dyn Fn(&str) + Send + Sync>;

static LAST: OnceLock<Last> = OnceLock::new();

/// From now on a panic in any thread ends the process with [`PANICKED`]. Its text is printed before.
pub(crate) fn end_process() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if let Some(last) = LAST.get() {
            last(&info.to_string().replace('\n', " "));
        }
        end();
    }));
}

/// Has this done before the process ends by a panic, in the thread that panicked. It may be done in several threads
/// at a time, and need not return. The first call counts.
pub(crate) fn before_end(last: impl Fn(&str) + Send + Sync + 'static) {
    drop(LAST.set(Box::new(last)));
}

#[expect(
    unsafe_code,
    reason = "the handlers of `exit` are not for a process whose other threads still run"
)]
fn end() -> ! {
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(PANICKED) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// What the test below is to do when it is started once more, on its own.
    const ROLE: &str = "FOS_AGENT_TEST_PANICS";

    #[test]
    fn a_panic_in_any_thread_ends_the_process_when_the_rest_is_done() {
        let Some(note) = std::env::var_os(ROLE).map(PathBuf::from) else {
            let dir = tempfile::tempdir().unwrap();
            let note = dir.path().join("note");
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "--nocapture",
                    "panics::tests::a_panic_in_any_thread_ends_the_process_when_the_rest_is_done",
                ])
                .env(ROLE, &note)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(PANICKED), "{output:?}");
            let printed = String::from_utf8(output.stderr).unwrap();
            assert!(printed.contains("on purpose"), "{printed}");
            let left = std::fs::read_to_string(note).unwrap();
            assert!(left.contains("on purpose: twice"), "{left}");
            return;
        };
        end_process();
        before_end(move |text| std::fs::write(&note, text).unwrap());
        before_end(|_| unreachable!("the first counts"));
        // Its end is waited for as if a panic there was nothing but a result.
        let joined = std::thread::spawn(|| panic!("on purpose:\ntwice")).join();
        unreachable!("the process goes on after {joined:?}");
    }
}
