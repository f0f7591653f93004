//! The files of the image, looked at before anything rests on them.

use std::sync::Arc;
use std::time::Instant;

use super::Driver;
use super::command::CheckIn;
use crate::domain::Reason;
use crate::imagestore;

/// Whether the image's files are being looked at. What was found before says nothing of now: a client of
/// FOG writes the table of the image as soon as it is told to go, and sessions wait for hours.
pub(super) enum Files {
    Idle,
    /// Being looked at; these check-ins wait, and perhaps the start.
    Checking {
        since: Instant,
        waiting: Vec<CheckIn>,
    },
}

impl Driver {
    /// Looks at all files before a host is told to go, and before a stream begins. A store that hangs
    /// holds nothing else.
    pub(super) fn check_files(&mut self) {
        if let Files::Checking { .. } = self.files {
            return;
        }
        self.files = Files::Checking {
            since: Instant::now(),
            waiting: Vec::new(),
        };
        let dir = self.around.config.images.join(&self.head.path);
        let facts = Arc::clone(&self.facts);
        let checked = self.checked_in.clone();
        tokio::task::spawn_blocking(move || {
            let result = imagestore::check_unchanged(&dir, &facts);
            // The session may be over.
            drop(checked.blocking_send(result.map_err(|error| readable::chain(&error))));
        });
    }

    /// Answers whether everybody should see at once what follows from it.
    pub(super) fn files_checked(&mut self, result: FilesResult) -> bool {
        let Files::Checking { waiting, .. } = std::mem::replace(&mut self.files, Files::Idle)
        else {
            return false;
        };
        self.is_dirty = true;
        let mut has_changed = result.is_err();
        match result {
            Err(text) => {
                let reason = Reason::ImageChanged { text };
                self.core.fail(Instant::now(), reason);
                // No start that waits is left then.
                self.carry_out();
            }
            Ok(()) => self.core.start_waits_for_files(false),
        }
        if let Some(start) = self.start.take() {
            self.perform(start);
        }
        for check_in in waiting {
            has_changed |= self.check_in(check_in);
        }
        has_changed
    }
}

/// What was found out about the files, as far as it is told.
pub(super) type FilesResult = Result<(), String>;
