//! The files of an image that was split, as one stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use fog::store::{self, StoreError};
use fog::task::ImageType;

/// The pieces of a split image, one after the other.
pub(super) struct Files {
    current: Option<(PathBuf, File)>,
    next: VecDeque<(PathBuf, File)>,
}

impl Files {
    /// Opens them, in natural order. With their name for people, and their length if it is known.
    ///
    /// # Errors
    /// A file cannot be opened, is missing between others, or does not belong to them.
    pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<(Self, String, Option<u64>)> {
        let paths = in_order(paths)?;
        let mut next = VecDeque::new();
        let mut len = Some(0_u64);
        for path in paths {
            let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            let meta = file
                .metadata()
                .with_context(|| format!("looking at {}", path.display()))?;
            ensure!(!meta.is_dir(), "{} is a directory", path.display());
            // Pipes and devices do not tell.
            len = len
                .filter(|_| meta.is_file())
                .and_then(|len| len.checked_add(meta.len()));
            next.push_back((path, file));
        }
        let name = match (next.front(), next.len()) {
            (Some((path, _)), 1) => path.display().to_string(),
            (Some((path, _)), count) => format!("{} ({count} pieces)", path.display()),
            _ => bail!("no image is given"),
        };
        let current = None;
        Ok((Self { current, next }, name, len))
    }
}

impl Read for Files {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.current.is_none() {
                self.current = self.next.pop_front();
            }
            let Some((path, file)) = &mut self.current else {
                return Ok(0);
            };
            let count = file.read(buffer).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.current = None;
        }
    }
}

/// The pieces in their order, none missing.
fn in_order(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    // One file is what it is called.
    if let [path] = paths {
        return Ok(vec![path.clone()]);
    }
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
    let streams = match store::streams(&names, ImageType::Raw, 0) {
        Ok(streams) => streams,
        Err(StoreError::SeveralRaw(found)) => bail!(
            "these files are not the pieces of one image (NAME or NAME.000, NAME.001, ...): {found}"
        ),
        Err(error) => return Err(error.into()),
    };
    let [stream] = &streams[..] else {
        bail!("no image is given");
    };
    ensure!(
        stream.files.len() == paths.len(),
        "hidden files are no pieces of an image"
    );
    let path_of = |file: &String| {
        let found = named.iter().find(|(name, _)| name == file);
        found.map(|(_, path)| (*path).clone())
    };
    Ok(stream.files.iter().filter_map(path_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(names: &[&str]) -> Result<Vec<String>, String> {
        let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let paths = in_order(&paths).map_err(|error| error.to_string())?;
        Ok(paths
            .iter()
            .map(|path| path.display().to_string())
            .collect())
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
        assert!(
            order(&["x.000", "x.002"])
                .unwrap_err()
                .contains("x.001 of x is missing")
        );
        assert!(
            order(&["x.001", "x.002"])
                .unwrap_err()
                .contains("x.000 of x is missing")
        );
        assert!(
            order(&["a.img", "b.img"])
                .unwrap_err()
                .contains("not the pieces")
        );
        assert!(
            order(&["a/x.000", "b/x.000"])
                .unwrap_err()
                .contains("twice")
        );
        // A single file may have any name.
        assert_eq!(order(&["x.001"]).unwrap(), ["x.001"]);
    }
}
