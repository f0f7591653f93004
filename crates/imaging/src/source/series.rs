//! Which files make up one image, and in which order.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use fog::store::{self, StoreError};
use fog::task::ImageType;

/// The pieces in their order, none missing: numbered as FOG does (NAME or NAME.000, NAME.001, ...) or
/// lettered as Clonezilla does (NAME.aa, NAME.ab, ...). `is_there` says whether a file exists.
///
/// # Errors
/// A piece is missing between others, or lies beside the last one and was not given: what follows the
/// first piece decides whether an image is good, and that would be noticed too late.
pub(super) fn in_order(
    paths: &[PathBuf],
    is_there: &dyn Fn(&Path) -> bool,
) -> anyhow::Result<Vec<PathBuf>> {
    let ordered = match paths {
        // One file is what it is called.
        [path] => vec![path.clone()],
        _ => several(paths)?,
    };
    let next = ordered.last().and_then(|last| {
        let name = successor(last.file_name()?.to_str()?, ordered.len())?;
        Some(last.with_file_name(name))
    });
    if let Some(next) = next.filter(|next| is_there(next)) {
        bail!(
            "{} belongs to this image as well; give all pieces, or, if it does not, the image on \
             standard input (-)",
            next.display()
        );
    }
    Ok(ordered)
}

fn several(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut named = Vec::new();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is no name of a file", path.display()))?;
        ensure!(
            named.iter().all(|(other, _)| *other != name),
            "{name} is given twice"
        );
        named.push((name, path));
    }
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    let files = match lettered(&names)? {
        Some(files) => files,
        None => numbered(&names)?,
    };
    let path_of = |file: &String| {
        let found = named.iter().find(|(name, _)| name == file);
        found.map(|(_, path)| (*path).clone())
    };
    Ok(files.iter().filter_map(path_of).collect())
}

fn numbered(names: &[&str]) -> anyhow::Result<Vec<String>> {
    let streams = match store::streams(names, &store::Sidecars::new(), ImageType::Raw, 0) {
        Ok(streams) => streams,
        Err(StoreError::SeveralRaw(found)) => bail!(
            "these files are not the pieces of one image (NAME or NAME.000, NAME.001, ...; NAME.aa, \
             NAME.ab, ...): {found}"
        ),
        Err(error) => return Err(error.into()),
    };
    let [stream] = &streams[..] else {
        bail!("no image is given");
    };
    ensure!(
        stream.files.len() == names.len(),
        "hidden files are no pieces of an image"
    );
    Ok(stream.files.clone())
}

/// Pieces as `split` names them; `None` if these are not.
fn lettered(names: &[&str]) -> anyhow::Result<Option<Vec<String>>> {
    let split: Option<Vec<_>> = names.iter().map(|name| letters(name)).collect();
    let Some(mut split) = split else {
        return Ok(None);
    };
    split.sort_unstable();
    let Some((stem, first)) = split.first().copied() else {
        return Ok(None);
    };
    let is_one = |(other, suffix): &(&str, &str)| *other == stem && suffix.len() == first.len();
    if !split.iter().all(is_one) {
        return Ok(None);
    }
    let mut expected = "a".repeat(first.len());
    // Suffixes of three letters are mostly something else: img, raw.
    if first.len() > 2 && first != expected {
        return Ok(None);
    }
    for (_, suffix) in &split {
        ensure!(
            *suffix == expected,
            "piece {stem}.{expected} of {stem} is missing (found {stem}.{suffix}); restore the file"
        );
        expected = next_letters(suffix).unwrap_or_default();
    }
    let name = |(stem, suffix): &(&str, &str)| format!("{stem}.{suffix}");
    Ok(Some(split.iter().map(name).collect()))
}

/// The name of the piece that would follow the last one of `count`.
fn successor(name: &str, count: usize) -> Option<String> {
    if let Some((stem, suffix)) = letters(name)
        && suffix.len() == 2
    {
        return Some(format!("{stem}.{}", next_letters(suffix)?));
    }
    let number = name.rsplit_once('.').filter(|(stem, suffix)| {
        !stem.is_empty() && suffix.len() >= 3 && suffix.bytes().all(|b| b.is_ascii_digit())
    });
    match number {
        Some((stem, suffix)) => Some(format!("{stem}.{:03}", suffix.parse::<u32>().ok()? + 1)),
        // The first piece may have no number.
        None if count == 1 => Some(format!("{name}.001")),
        None => None,
    }
}

/// A name and the letters behind its last dot.
fn letters(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('.').filter(|(stem, suffix)| {
        !stem.is_empty()
            && (2..=3).contains(&suffix.len())
            && suffix.bytes().all(|b| b.is_ascii_lowercase())
    })
}

/// `ab` of `aa`, `ba` of `az`; nothing follows `zz`.
fn next_letters(suffix: &str) -> Option<String> {
    let mut next = suffix.as_bytes().to_vec();
    for letter in next.iter_mut().rev() {
        if *letter < b'z' {
            *letter += 1;
            return String::from_utf8(next).ok();
        }
        *letter = b'a';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_beside(names: &[&str], others: &[&str]) -> Result<Vec<String>, String> {
        let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let is_there = |path: &Path| others.iter().any(|other| Path::new(other) == path);
        let paths = in_order(&paths, &is_there).map_err(|error| error.to_string())?;
        Ok(paths
            .iter()
            .map(|path| path.display().to_string())
            .collect())
    }

    fn order(names: &[&str]) -> Result<Vec<String>, String> {
        order_beside(names, &[])
    }

    #[test]
    fn pieces_are_put_in_order_and_gaps_are_found() {
        assert_eq!(
            order(&["/a/x.img.002", "/a/x.img", "/a/x.img.001"]).unwrap(),
            ["/a/x.img", "/a/x.img.001", "/a/x.img.002"]
        );
        assert_eq!(
            order(&["x.1000", "x.999", "x.000"]).unwrap_err(),
            "chunk x.001 of x is missing (found x.999); restore the file or capture the image again"
        );
        for (names, text) in [
            (["x.000", "x.002"], "x.001 of x is missing"),
            (["x.001", "x.002"], "x.000 of x is missing"),
            (["a.img", "b.img"], "not the pieces"),
            (["x.img", "x.raw"], "not the pieces"),
            (["x.aa", "x.000"], "not the pieces"),
            (["a/x.000", "b/x.000"], "twice"),
        ] {
            let error = order(&names).unwrap_err();
            assert!(error.contains(text), "{names:?}: {error}");
        }
        // A single file may have any name.
        assert_eq!(order(&["x.001"]).unwrap(), ["x.001"]);
    }

    #[test]
    fn lettered_pieces_are_put_in_order_and_gaps_are_found() {
        let image = "/c/sda1.ext4-ptcl-img.gz";
        let names = ["ab", "aa", "ac"].map(|suffix| format!("{image}.{suffix}"));
        let ordered = order(&names.each_ref().map(String::as_str)).unwrap();
        assert_eq!(ordered, ["aa", "ab", "ac"].map(|s| format!("{image}.{s}")));
        let all: Vec<String> = (b'a'..=b'z')
            .flat_map(|a| (b'a'..=b'z').map(move |b| [a, b]))
            .map(|[a, b]| format!("x.{}{}", char::from(a), char::from(b)))
            .collect();
        let mut names: Vec<&str> = all.iter().map(String::as_str).collect();
        names.reverse();
        assert_eq!(order(&names).unwrap(), all);
        assert_eq!(order(&["x.aab", "x.aaa"]).unwrap(), ["x.aaa", "x.aab"]);
        for (names, text) in [
            (["x.aa", "x.ac"], "x.ab of x is missing"),
            (["x.ab", "x.ac"], "x.aa of x is missing"),
            (["x.aa", "y.ab"], "not the pieces"),
        ] {
            let error = order(&names).unwrap_err();
            assert!(error.contains(text), "{names:?}: {error}");
        }
    }

    #[test]
    fn a_piece_that_was_forgotten_is_seen() {
        for (names, other) in [
            (&["/a/x.000"][..], "/a/x.001"),
            (&["/a/x"], "/a/x.001"),
            (&["/a/x.img.000", "/a/x.img.001"], "/a/x.img.002"),
            (&["/a/x.img", "/a/x.img.001"], "/a/x.img.002"),
            (&["/a/x.999"], "/a/x.1000"),
            (&["/a/x.gz.aa"], "/a/x.gz.ab"),
            (&["/a/x.gz.ab", "/a/x.gz.aa"], "/a/x.gz.ac"),
        ] {
            let error = order_beside(names, &[other]).unwrap_err();
            let text = format!("{other} belongs to this image as well");
            assert!(error.starts_with(&text), "{error}");
            order_beside(names, &["/a/x.007", "/b/x.001"]).unwrap();
        }
    }
}
