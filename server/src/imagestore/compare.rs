//! What changed in an image since it was added.

use std::collections::BTreeMap;
use std::fmt;

use fog::encoding::printable;
use fog::store::{StreamName, natural_cmp};
use fos_api::{Blake3, StreamFacts};
use readable::Size;

use crate::domain::image::{Facts, SettingChanged, StoredFile};

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A stream that there was not.
    NewStream(StreamName),
    /// A stream that there is no more.
    LostStream(StreamName),
    /// A stream with other bytes.
    Stream {
        /// Which.
        name: StreamName,
        /// Stored bytes then.
        old_len: u64,
        /// Stored bytes now.
        new_len: u64,
        /// Whether the image in it has the same header: then it was captured or packed again, or it is
        /// damaged.
        has_same_header: bool,
    },
    /// A stream with the same bytes, of which other things were found out. Only another version of this
    /// program, or the first full verification, does that.
    Facts(StreamName),
    /// A stream with the same bytes that was decoded to its end only once, then or now.
    Decoded {
        /// Which.
        name: StreamName,
        /// Whether it was decoded now.
        is_now: bool,
    },
    /// The streams are sent in another order.
    Order,
    /// A file that there was not.
    NewFile(String),
    /// A file that there is no more.
    LostFile(String),
    /// A file with other bytes: known from its hash, or where it is part of a stream, from its size.
    File {
        /// Which.
        name: String,
        /// Size then.
        old_size: u64,
        /// Size now.
        new_size: u64,
    },
    /// A file whose date alone changed.
    Date(String),
    /// The image's row says something else of the files than when they were verified.
    Setting(SettingChanged),
}

impl Difference {
    /// Whether the clients' disks would differ, or could.
    #[must_use]
    pub fn is_content(&self) -> bool {
        !matches!(self, Self::Date(_) | Self::Facts(_) | Self::Decoded { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = |f: &mut fmt::Formatter<'_>, old: u64, new: u64| {
            if old == new {
                write!(f, "still {}", Size(new))
            } else if Size(old).to_string() == Size(new).to_string() {
                write!(f, "{new} bytes, had {old}")
            } else {
                write!(f, "{}, had {}", Size(new), Size(old))
            }
        };
        match self {
            Self::NewStream(name) => write!(f, "{name} is new"),
            Self::LostStream(name) => write!(f, "{name} is gone"),
            Self::Stream {
                name,
                old_len,
                new_len,
                has_same_header,
            } => {
                let header = if *has_same_header {
                    "the same"
                } else {
                    "another"
                };
                write!(f, "{name} has other bytes (")?;
                sizes(f, *old_len, *new_len)?;
                write!(f, "; {header} image header)")
            }
            Self::Facts(name) => write!(
                f,
                "{name} has the same bytes; this version of fos-server knows other things of them"
            ),
            Self::Decoded { name, is_now: true } => write!(
                f,
                "{name} has the same bytes; they are decoded to the end now, and were not before"
            ),
            Self::Decoded {
                name,
                is_now: false,
            } => write!(
                f,
                "{name} has the same bytes; they were decoded to the end before, and are not now"
            ),
            Self::Order => f.write_str("the streams are sent in another order"),
            Self::NewFile(name) => write!(f, "{} is new", shown(name)),
            Self::LostFile(name) => write!(f, "{} is gone", shown(name)),
            Self::File {
                name,
                old_size,
                new_size,
            } => {
                write!(f, "{} has other bytes (", shown(name))?;
                sizes(f, *old_size, *new_size)?;
                f.write_str(")")
            }
            Self::Date(name) => write!(f, "{} has another date and the same bytes", shown(name)),
            Self::Setting(changed) => changed.fmt(f),
        }
    }
}

fn shown(name: &str) -> String {
    printable(name, 255)
}

/// What is different in `new`: streams in sending order, then files by name, then settings. Empty if nothing is.
///
/// Files of a stream have no hash of their own, so that their bytes count as the stream's.
#[must_use]
pub fn compare(old: &Facts, new: &Facts) -> Vec<Difference> {
    let mut found = compare_streams(&old.streams, &new.streams);
    let of_files: Vec<Difference> = compare_files(old, new)
        .into_iter()
        .filter(|difference| !found.iter().any(|stream| is_said_by(stream, difference)))
        .collect();
    found.extend(of_files);
    if let (Some(old), Some(new)) = (&old.settings, &new.settings) {
        found.extend(old.difference(new).map(Difference::Setting));
    }
    found
}

/// Whether a stream that came or went is this file, which has its name unless it is split.
fn is_said_by(stream: &Difference, file: &Difference) -> bool {
    match (stream, file) {
        (Difference::NewStream(stream), Difference::NewFile(file))
        | (Difference::LostStream(stream), Difference::LostFile(file)) => stream.as_str() == file,
        _ => false,
    }
}

fn compare_streams(old: &[StreamFacts], new: &[StreamFacts]) -> Vec<Difference> {
    fn by_name(streams: &[StreamFacts]) -> BTreeMap<&str, &StreamFacts> {
        let streams = streams.iter();
        streams
            .map(|stream| (stream.name.as_str(), stream))
            .collect()
    }
    let (old_names, new_names) = (by_name(old), by_name(new));
    let mut found = Vec::new();
    for stream in new {
        let name = &stream.name;
        let Some(before) = old_names.get(name.as_str()) else {
            found.push(Difference::NewStream(name.clone()));
            continue;
        };
        let mut header = before.image.clone();
        // Known or not, it is not in the header.
        header.used_blocks = stream.image.used_blocks;
        if before.blake3 != stream.blake3 || before.stored_len != stream.stored_len {
            found.push(Difference::Stream {
                name: name.clone(),
                old_len: before.stored_len,
                new_len: stream.stored_len,
                has_same_header: header == stream.image,
            });
        } else if header != stream.image {
            found.push(Difference::Facts(name.clone()));
        } else if before.image.used_blocks.is_some() != stream.image.used_blocks.is_some() {
            let is_now = stream.image.used_blocks.is_some();
            let name = name.clone();
            found.push(Difference::Decoded { name, is_now });
        } else if before.image != stream.image {
            found.push(Difference::Facts(name.clone()));
        }
    }
    let lost = old
        .iter()
        .filter(|stream| !new_names.contains_key(stream.name.as_str()));
    found.extend(lost.map(|stream| Difference::LostStream(stream.name.clone())));
    let common = |streams: &[StreamFacts], others: &BTreeMap<&str, &StreamFacts>| -> Vec<String> {
        let names = streams.iter().map(|stream| stream.name.as_str());
        let both = names.filter(|name| others.contains_key(name));
        both.map(ToOwned::to_owned).collect()
    };
    if common(old, &new_names) != common(new, &old_names) {
        found.push(Difference::Order);
    }
    found
}

fn compare_files(old: &Facts, new: &Facts) -> Vec<Difference> {
    fn by_name(facts: &Facts) -> BTreeMap<&str, &StoredFile> {
        let files = facts.files.iter();
        files.map(|file| (file.name.as_str(), file)).collect()
    }
    let (old_files, new_files) = (by_name(old), by_name(new));
    let mut names: Vec<&str> = old_files.keys().chain(new_files.keys()).copied().collect();
    names.sort_by(|a, b| natural_cmp(a, b));
    names.dedup();
    let hash_of_stream = |facts: &Facts, file: &StoredFile| -> Option<Blake3> {
        let index = usize::try_from(file.place?.stream).ok()?;
        Some(facts.streams.get(index)?.blake3)
    };
    let compared = names.into_iter().filter_map(|name| {
        let found = (old_files.get(name), new_files.get(name));
        let name = name.to_owned();
        let (before, now) = match found {
            (Some(before), Some(now)) => (before, now),
            (None, _) => return Some(Difference::NewFile(name)),
            (_, None) => return Some(Difference::LostFile(name)),
        };
        let has_other_bytes = before.size != now.size
            || match (before.place, now.place) {
                // Unknown hashes are empty.
                (None, None) => {
                    !before.blake3.is_empty()
                        && !now.blake3.is_empty()
                        && before.blake3 != now.blake3
                }
                _ => false,
            };
        if has_other_bytes {
            return Some(Difference::File {
                name,
                old_size: before.size,
                new_size: now.size,
            });
        }
        // With the stream's bytes the file's may have changed; that is said of the stream.
        let is_same_stream = hash_of_stream(old, before) == hash_of_stream(new, now);
        (before.mtime != now.mtime && is_same_stream).then_some(Difference::Date(name))
    });
    compared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::tests::sample_facts;

    fn facts() -> Facts {
        let mut facts = sample_facts(&["d1p1.img", "d1p2.img"]);
        facts.files[0].blake3 = "aa".repeat(32);
        facts
    }

    #[track_caller]
    fn differences(change: impl FnOnce(&mut Facts)) -> Vec<Difference> {
        let mut new = facts();
        change(&mut new);
        compare(&facts(), &new)
    }

    fn name(text: &str) -> StreamName {
        StreamName::of_file(text)
    }

    #[test]
    fn the_same_image_has_no_differences() {
        assert_eq!(differences(|_| {}), []);
        // When it was looked at is no matter.
        assert_eq!(
            differences(|new| new.checked_at = crate::domain::Timestamp(1)),
            []
        );
        // An older version did not note them.
        assert_eq!(differences(|new| new.settings = None), []);
    }

    #[test]
    fn another_type_of_image_is_another_content() {
        let found = differences(|new| {
            if let Some(settings) = &mut new.settings {
                settings.image_type = fog::task::ImageType::Raw;
            }
        });
        let [difference @ Difference::Setting(_)] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(difference.is_content());
        assert_eq!(difference.to_string(), "its type is dd, it was mps");
    }

    #[test]
    fn changed_bytes_are_told_from_changed_dates() {
        let hash: Blake3 = "cd".repeat(32).parse().unwrap();
        let found = differences(|new| {
            new.streams[1].blake3 = hash;
            new.files[2].mtime += 1;
        });
        assert_eq!(
            found,
            [Difference::Stream {
                name: name("d1p2.img"),
                old_len: 1000,
                new_len: 1000,
                has_same_header: true
            }]
        );
        assert_eq!(
            found[0].to_string(),
            "d1p2.img has other bytes (still 1.0 kB; the same image header)"
        );
        let found = differences(|new| {
            new.streams[0].blake3 = hash;
            new.streams[0].stored_len = 5000;
            new.streams[0].image.device_size += 1;
            new.files[1].size = 5000;
        });
        assert_eq!(found.len(), 2, "{found:?}");
        let text = found[0].to_string();
        assert!(text.contains("5.0 kB, had 1.0 kB; another"), "{text}");
        assert!(found.iter().all(Difference::is_content));

        assert_eq!(
            differences(|new| new.files[0].blake3 = "bb".repeat(32)),
            [Difference::File {
                name: "d1.mbr".into(),
                old_size: 1000,
                new_size: 1000
            }]
        );
        let found = differences(|new| {
            new.files[0].mtime += 1;
            new.files[2].mtime += 1;
            new.streams[0].image.used_blocks = None;
        });
        assert_eq!(
            found,
            [
                Difference::Decoded {
                    name: name("d1p1.img"),
                    is_now: false
                },
                Difference::Date("d1.mbr".into()),
                Difference::Date("d1p2.img".into()),
            ]
        );
        assert!(!found.iter().any(Difference::is_content));
    }

    #[test]
    fn what_came_and_went_is_named_once() {
        let found = differences(|new| {
            *new = sample_facts(&["d1p2.img", "d1p3.img"]);
            new.files[0].blake3 = "aa".repeat(32);
        });
        assert_eq!(
            found,
            [
                Difference::NewStream(name("d1p3.img")),
                Difference::LostStream(name("d1p1.img")),
            ]
        );
        // The pieces of a split image are files of other names.
        let split = |facts: &mut Facts| facts.files[1].name = "d1p1.img.000".into();
        let mut old = facts();
        split(&mut old);
        let mut new = facts();
        new.streams.remove(0);
        new.files.remove(1);
        assert_eq!(
            compare(&old, &new)[..2],
            [
                Difference::LostStream(name("d1p1.img")),
                Difference::LostFile("d1p1.img.000".into()),
            ]
        );
        assert_eq!(
            differences(|new| new.streams.swap(0, 1)),
            [Difference::Order]
        );
    }
}
