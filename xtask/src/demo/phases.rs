//! The agent's story, read from its console: `fos-agent: phase NAME start|end t=MILLISECONDS`.

use std::{fs, path::Path};

use super::services::NOTHING_TO_BOOT;

/// A phase: when it began and, if it is over, how long it took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) start: u64,
    pub(crate) took: Option<u64>,
}

/// What a console said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    /// In the order of their beginnings.
    pub(crate) phases: Vec<Phase>,
    /// Highest resident memory of the agent in KiB.
    pub(crate) memory_peak: Option<u64>,
    /// What follows `FAILED` at the beginning of lines, each text once.
    pub(crate) failures: Vec<String>,
    /// The last line of other text.
    pub(crate) last_line: String,
    /// iPXE got no kernel from the server.
    pub(crate) has_nothing_to_boot: bool,
}

impl Story {
    pub(crate) fn read(log: &Path) -> Self {
        let bytes = fs::read(log).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut story = Self::default();
        for line in text.lines() {
            let line = plain(line);
            let line = line.trim();
            if let Some((_, rest)) = line.split_once("fos-agent: phase ") {
                story.phase(rest);
            } else if let Some((_, rest)) = line.split_once("fos-agent: memory peak=") {
                story.memory_peak = number(rest);
            } else if let Some(rest) = line.strip_prefix("FAILED") {
                let reason = rest.trim_start_matches([':', ' ']);
                if !story.failures.iter().any(|known| known == reason) {
                    story.failures.push(reason.to_owned());
                }
            } else if !line.is_empty() {
                story.has_nothing_to_boot |= line.contains(NOTHING_TO_BOOT);
                story.last_line = line.to_owned();
            }
        }
        story
    }

    /// The phase in work.
    pub(crate) fn current(&self) -> Option<&Phase> {
        self.phases.iter().rev().find(|phase| phase.took.is_none())
    }

    fn phase(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        let (Some(name), Some(edge), Some(time)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        let Some(time) = time.strip_prefix("t=").and_then(number) else {
            return;
        };
        match edge {
            "start" => self.phases.push(Phase {
                name: name.to_owned(),
                start: time,
                took: None,
            }),
            "end" => {
                let open = self
                    .phases
                    .iter_mut()
                    .rev()
                    .find(|phase| phase.name == name && phase.took.is_none());
                if let Some(phase) = open {
                    phase.took = Some(time.saturating_sub(phase.start));
                }
            }
            _ => {}
        }
    }
}

/// The digits that `text` begins with.
fn number(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The line without the escape sequences of a terminal.
pub(crate) fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            if !c.is_control() {
                out.push(c);
            }
            continue;
        }
        if chars.next() == Some('[') {
            // Parameters, up to the letter that ends the sequence.
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_paired_and_the_open_one_is_current() {
        let story = Story::parse(
            "SeaBIOS\n\x1b[2Jfos-agent: phase network start t=1200\r\nsome text\n\
             fos-agent: phase network end t=1500\nfos-agent: phase d1p1.img start t=1600\n\
             fos-agent: memory peak=20480 KiB\nFAILED: no disk\nFAILED   no disk\n",
        );
        assert_eq!(story.phases.len(), 2);
        assert_eq!(story.phases[0].took, Some(300));
        assert_eq!(story.current().unwrap().name, "d1p1.img");
        assert_eq!(story.memory_peak, Some(20480));
        assert_eq!(story.failures, ["no disk"]);
        assert_eq!(story.last_line, "some text");
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let story =
            Story::parse("fos-agent: phase\nfos-agent: phase x start t=\nfos-agent: phase ");
        assert!(story.phases.is_empty());
    }
}
