//! Why a deploy is over, in one sentence.

use std::error::Error;

/// Why a deploy is over.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which part failed, one word.
    pub(crate) part: &'static str,
    /// For people: what, where, what to do.
    pub(crate) text: String,
    /// The server has ended the task itself, and need not be told.
    pub(crate) is_known_to_server: bool,
}

impl Failure {
    pub(crate) fn new(part: &'static str, error: impl Into<anyhow::Error>) -> Self {
        let error: anyhow::Error = error.into();
        Self {
            part,
            text: causes(&*error),
            is_known_to_server: false,
        }
    }

    /// One that the server told us of.
    pub(crate) fn known(part: &'static str, text: String) -> Self {
        Self {
            part,
            text,
            is_known_to_server: true,
        }
    }
}

/// An error and its causes in one line. A cause that is in the text already is not repeated: many
/// errors quote theirs.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_are_told_once() {
        let inner = io::Error::other("disk full");
        let outer = io::Error::other(inner);
        assert_eq!(causes(&outer), "disk full");

        let error = Err::<(), _>(outer).context("writing d1p1.img");
        let failure = Failure::new("streams", error.unwrap_err());
        assert_eq!(failure.text, "writing d1p1.img: disk full");
        assert!(!failure.is_known_to_server);
    }
}
