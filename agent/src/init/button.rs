//! The power button: one press switches the machine off, in order.
//!
//! The kernel reports it as a key of an input device, and does nothing by itself.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Where the kernel shows input devices; tests have trees of their own.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// `/sys/class/input`.
    class: PathBuf,
    /// `/dev/input`.
    dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            class: "/sys/class/input".into(),
            dev: "/dev/input".into(),
        }
    }
}

/// Returns when a power button, or the key for it on a keyboard, is pressed.
///
/// # Errors
/// The devices cannot be waited for.
pub(super) fn wait_for_press(places: &Places) -> io::Result<()> {
    let mut buttons: Vec<Button> = Vec::new();
    loop {
        buttons.retain(|button| !button.is_gone);
        for name in with_power_key(&places.class) {
            let is_known = buttons.iter().any(|button| button.name == name);
            if let Some(file) = (!is_known)
                .then(|| File::open(places.dev.join(&name)).ok())
                .flatten()
            {
                buttons.push(Button {
                    name,
                    file,
                    is_gone: false,
                });
            }
        }
        let mut waits: Vec<PollFd<'_>> = buttons
            .iter()
            .map(|button| PollFd::new(button.file.as_fd(), PollFlags::POLLIN))
            .collect();
        match poll(&mut waits, PollTimeout::from(LOOK_AGAIN_MS)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let happened: Vec<bool> = waits
            .iter()
            .map(|wait| wait.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        for (button, _) in buttons.iter_mut().zip(happened).filter(|(_, it)| *it) {
            if button.is_pressed() {
                return Ok(());
            }
        }
    }
}

/// An input device that has the power key.
struct Button {
    name: String,
    file: File,
    /// It was unplugged.
    is_gone: bool,
}

impl Button {
    /// Reads what has happened.
    fn is_pressed(&mut self) -> bool {
        let mut events = [0; EVENT_LEN * 16];
        match self.file.read(&mut events) {
            Ok(0) => self.is_gone = true,
            Ok(len) => return events[..len].chunks_exact(EVENT_LEN).any(is_press),
            Err(error) => self.is_gone = error.kind() != io::ErrorKind::Interrupted,
        }
        false
    }
}

/// Names of the event devices that have the power key.
fn with_power_key(class: &Path) -> Vec<String> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("event"))
        .filter(|name| {
            let keys = class.join(name).join("device/capabilities/key");
            fs::read_to_string(keys).is_ok_and(|keys| has_key(&keys, KEY_POWER))
        })
        .collect();
    names.sort();
    names
}

/// Whether a bit is set in a bitmap as sysfs prints it: hexadecimal numbers of the kernel's `long`, the
/// highest one first (kernel `drivers/input/input.c`, `input_print_bitmap`).
fn has_key(bitmap: &str, key: u32) -> bool {
    let (number, bit) = (key / LONG_BITS, key % LONG_BITS);
    bitmap
        .split_ascii_whitespace()
        .rev()
        .nth(number as usize)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .is_some_and(|long| long >> bit & 1 == 1)
}

/// `struct input_event` of `linux/input.h` on a 64-bit machine: two numbers of time, then type, code and value.
fn is_press(event: &[u8]) -> bool {
    let Some((_time, [t0, t1, c0, c1, v0, v1, v2, v3])) = event.split_at_checked(16) else {
        return false;
    };
    let kind = u16::from_ne_bytes([*t0, *t1]);
    let code = u16::from_ne_bytes([*c0, *c1]);
    let value = i32::from_ne_bytes([*v0, *v1, *v2, *v3]);
    kind == EV_KEY && u32::from(code) == KEY_POWER && value == PRESSED
}

const EVENT_LEN: usize = 24;
const LONG_BITS: u32 = 64;
/// `linux/input-event-codes.h`.
const EV_KEY: u16 = 1;
const KEY_POWER: u32 = 116;
/// 0 is a release, 2 a repetition: of a key that was held down before anybody looked.
const PRESSED: i32 = 1;
/// A keyboard may be plugged in.
const LOOK_AGAIN_MS: u16 = 3000;

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut event = vec![0xee; 16];
        event.extend(kind.to_ne_bytes());
        event.extend(code.to_ne_bytes());
        event.extend(value.to_ne_bytes());
        event
    }

    /// An input device with these keys: its events come out of a FIFO.
    fn device(places: &Places, name: &str, keys: &str) {
        let dir = places.class.join(name).join("device/capabilities");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("key"), keys).unwrap();
        fs::create_dir_all(&places.dev).unwrap();
        mkfifo(&places.dev.join(name), Mode::S_IRWXU).unwrap();
    }

    #[test]
    fn bitmaps_of_keys_are_read_from_their_end() {
        // ACPI's power button, and a keyboard, as a machine shows them.
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(has_key(
            "402000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe\n",
            30
        ));
        let mouse = "1f0000 0 0 0 0\n";
        assert!(!has_key(mouse, KEY_POWER));
        assert!(has_key(mouse, 272));
        for junk in ["", "0", "x 0", "-1 0"] {
            assert!(!has_key(junk, KEY_POWER), "{junk}");
        }
    }

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)));
        assert!(!is_press(&event(1, 116, 2)));
        assert!(!is_press(&event(1, 28, 1)));
        assert!(!is_press(&event(2, 116, 1)));
        assert!(!is_press(&event(1, 116, 1)[..23]));
    }

    #[test]
    fn a_press_is_noticed_among_other_events() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places {
            class: dir.path().join("class"),
            dev: dir.path().join("dev"),
        };
        device(&places, "event0", "10000000000000 0\n");
        // Opening one that is not a button would wait for ever: it has no writer.
        device(&places, "event1", "1f0000 0 0 0 0\n");
        let button = places.dev.join("event0");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for_press(&places));
            let mut button = OpenOptions::new().write(true).open(button).unwrap();
            button.write_all(&event(1, 28, 1)).unwrap();
            button.write_all(&event(1, 116, 0)).unwrap();
            assert!(!waiting.is_finished());
            button.write_all(&event(1, 116, 1)).unwrap();
            waiting.join().unwrap().unwrap();
        });
    }
}
