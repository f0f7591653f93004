//! What becomes of an allocation that fails: a reported failure.
//!
//! Rust ends a program with SIGABRT then, which looks like a programming error from outside; the hook that
//! could change that is not stable. So the allocator notes that it has failed, and a handler of the signal
//! ends the process with a status of its own, which PID 1 reports, or makes another program of it that was
//! prepared for this: nothing of that allocates, and a new program begins with all the memory that this one
//! had. Where a failed allocation is an error like others (`try_reserve`), it stays one.
//!
//! Where Linux promises more memory than there is, it kills a process instead when the memory is used. That
//! is the worker, and PID 1 reports that, too.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr::null;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::exit::OUT_OF_MEMORY;

/// An allocator whose failures are noted.
pub(crate) struct Watched<A>(pub(crate) A);

/// A program and its arguments, in the form of `execv`.
struct Successor {
    program: CString,
    /// Ends with a null pointer. They point into `_words`.
    pointers: Vec<*const c_char>,
    _words: Vec<CString>,
}

// SAFETY: the pointers lead to strings on the heap that belong to the same value and never change.
#[expect(unsafe_code, reason = "arguments of execv are pointers")]
unsafe impl Send for Successor {}
// SAFETY: as above; nobody writes.
#[expect(unsafe_code, reason = "arguments of execv are pointers")]
unsafe impl Sync for Successor {}

static SUCCESSOR: OnceLock<Successor> = OnceLock::new();

/// From now on this program becomes the one of this name and arguments when memory runs out. The first
/// call counts. Words that contain a null octet are left out.
pub(crate) fn succeed_by(program: &OsStr, words: &[&OsStr]) {
    let to_c = |word: &OsStr| CString::new(word.as_bytes()).ok();
    let Some(program) = to_c(program) else {
        return;
    };
    let words: Vec<CString> = words.iter().filter_map(|word| to_c(word)).collect();
    let pointers = words.iter().map(|word| word.as_ptr()).chain([null()]);
    let successor = Successor {
        program,
        pointers: pointers.collect(),
        _words: words,
    };
    drop(SUCCESSOR.set(successor));
}

/// Sees to it that a failed allocation ends this process in an orderly way.
#[expect(unsafe_code, reason = "a signal handler")]
pub(crate) fn watch() {
    let action = SigAction::new(
        SigHandler::Handler(on_abort),
        SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    // SAFETY: the handler only calls what a signal handler may call (signal-safety(7)).
    let watched = unsafe { sigaction(Signal::SIGABRT, &action) };
    // If that failed, it is as it was before: the program ends with SIGABRT.
    watched.map(|_| ()).unwrap_or_default();
}

/// `abort` raises the signal again after this returns, and then it has its usual effect.
extern "C" fn on_abort(_signal: c_int) {
    if HAS_FAILED.load(Ordering::Relaxed) {
        end();
    }
}

/// Ends this process. Takes no memory and no lock.
#[expect(
    unsafe_code,
    reason = "execv and _exit as they are: their wrappers allocate or run destructors"
)]
fn end() -> ! {
    if let Some(successor) = SUCCESSOR.get() {
        // SAFETY: a C string, and an array of such that ends with a null pointer; both live for ever.
        unsafe { libc::execv(successor.program.as_ptr(), successor.pointers.as_ptr()) };
    }
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(OUT_OF_MEMORY) }
}

/// An allocation has failed. If the program could live with that, an abort for another reason is later
/// taken for this one.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

fn noted(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        HAS_FAILED.store(true, Ordering::Relaxed);
    }
    block
}

// SAFETY: every call is passed on as it is, and its result passed back.
#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Watched<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the inner one asks for.
        noted(unsafe { self.0.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        noted(unsafe { self.0.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        noted(unsafe { self.0.realloc(block, layout, new_size) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus};

    use super::*;

    /// What the test below is to do when it is started once more, on its own.
    const ROLE: &str = "FOS_AGENT_TEST_MEMORY";

    fn run_as(role: &str) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory::tests::out_of_memory_is_a_status_or_another_program",
            ])
            .env(ROLE, role)
            .output()
            .unwrap()
            .status
    }

    fn exhaust() {
        let all = usize::MAX / 4;
        std::hint::black_box(Vec::<u8>::with_capacity(all));
    }

    #[test]
    fn out_of_memory_is_a_status_or_another_program() {
        let Ok(role) = std::env::var(ROLE) else {
            assert_eq!(run_as("status").code(), Some(OUT_OF_MEMORY));
            assert_eq!(run_as("successor").code(), Some(42));
            let aborted = run_as("abort").signal();
            assert_eq!(aborted, Some(Signal::SIGABRT as i32));
            return;
        };
        watch();
        match role.as_str() {
            "status" => exhaust(),
            "successor" => {
                let words = ["sh", "-c", "test \"$1\" = 'a b' && exit 42", "x", "a b"];
                succeed_by(OsStr::new("/bin/sh"), &words.map(OsStr::new));
                // An error like others, where the program is prepared for it.
                let mut bytes = Vec::<u8>::new();
                bytes.try_reserve(usize::MAX / 4).unwrap_err();
                exhaust();
            }
            _ => std::process::abort(),
        }
    }
}
