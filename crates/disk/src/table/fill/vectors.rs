//! What FOG's client computes for the same input; `testdata/fill` says where it comes from.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

struct Vector {
    name: String,
    dir: PathBuf,
}

impl Vector {
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fill");
        let mut vectors: Vec<Self> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| Self {
                name: entry.file_name().into_string().unwrap(),
                dir: entry.path(),
            })
            .collect();
        vectors.sort_by(|a, b| a.name.cmp(&b.name));
        vectors
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(file)).ok()
    }

    fn dump(&self, file: &str) -> Option<Dump> {
        Some(Dump::parse(&self.read(file)?).unwrap())
    }

    fn disk(&self) -> Shape {
        let text = self.read("disk.txt").unwrap();
        let number = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().parse().unwrap()
        };
        Shape {
            size: number("logical-sectors:") * number("sector-size:"),
            logical_sector: u32::try_from(number("sector-size:")).unwrap(),
        }
    }

    fn ours(&self) -> Result<Vec<(u32, u64, u64)>, FillError> {
        let original = self.dump("original.sfdisk").unwrap();
        let minimum = self.dump("minimum.sfdisk");
        let fixed = parse_fixed(&self.read("fixed.txt").unwrap())?;
        let filled = fill(&original, minimum.as_ref(), &fixed, &self.disk())?;
        Ok(filled.iter().map(|p| (p.number, p.start, p.size)).collect())
    }

    /// Whether every partition has the room that it needs in this layout, and shares it with no other.
    fn is_sound(&self, layout: &[(u32, u64, u64)]) -> bool {
        let original = self.dump("original.sfdisk").unwrap();
        let minimum = self
            .dump("minimum.sfdisk")
            .unwrap_or_else(|| original.clone());
        let fixed = parse_fixed(&self.read("fixed.txt").unwrap()).unwrap();
        let image = Image::of(&original, &minimum, &fixed).unwrap();
        let is_large_enough = image.inputs.iter().zip(layout).all(|(input, &(.., size))| {
            input.role == Role::Extended || input.size == 0 || size >= input.needed()
        });
        let is_apart = |inside: bool| {
            let of_kind = image.inputs.iter().zip(layout);
            let of_kind = of_kind.filter(|(input, _)| input.is_logical == inside && input.size > 0);
            let mut ranges: Vec<_> = of_kind
                .map(|(_, &(_, start, size))| start..start + size)
                .collect();
            ranges.sort_by_key(|range| range.start);
            ranges.windows(2).all(|pair| pair[0].end <= pair[1].start)
        };
        is_large_enough && is_apart(true) && is_apart(false)
    }

    fn expected(&self) -> Option<Vec<(u32, u64, u64)>> {
        let dump = self.dump("expected.sfdisk")?;
        let lines = dump.partitions.iter();
        Some(lines.map(|p| (p.number, p.start, p.size)).collect())
    }
}

/// Containers that the original takes for partitions with data: it knows types 5 and f alone.
const OTHER_CONTAINERS: [&str; 2] = ["h-mbr-ext85", "h-mbr-type0F-upper"];

#[test]
fn layouts_are_those_of_the_original_where_these_are_sound() {
    let vectors = Vector::all();
    assert!(vectors.len() >= 80, "{}", vectors.len());
    let (mut equal, mut refused, mut mended) = (0, 0, 0);
    for vector in vectors {
        let name = &vector.name;
        let ours = vector.ours();
        match (vector.expected(), ours) {
            (Some(expected), Ok(ours)) if ours == expected => equal += 1,
            (Some(expected), Ok(ours)) => {
                let is_on_purpose =
                    !vector.is_sound(&expected) || OTHER_CONTAINERS.contains(&name.as_str());
                assert!(is_on_purpose, "{name}: {ours:?}, FOG has {expected:?}");
                assert!(vector.is_sound(&ours), "{name}: {ours:?}");
                mended += 1;
            }
            (Some(expected), Err(error)) => {
                assert!(!vector.is_sound(&expected), "{name}: {error}");
                assert!(
                    matches!(error, FillError::TooSmall { .. }),
                    "{name}: {error}"
                );
                refused += 1;
            }
            (None, ours) => {
                let error = ours.unwrap_err();
                assert!(
                    matches!(error, FillError::TooSmall { .. }),
                    "{name}: {error}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((equal, refused, mended), (55, 19, 6));
}

/// The size that a refusal names is one that would do.
#[test]
fn a_refusal_names_a_size_that_is_enough() {
    for vector in Vector::all() {
        let Err(FillError::TooSmall { disk, required, .. }) = vector.ours() else {
            continue;
        };
        assert!(required > disk, "{}", vector.name);
        let original = vector.dump("original.sfdisk").unwrap();
        let fixed = parse_fixed(&vector.read("fixed.txt").unwrap()).unwrap();
        let logical_sector = vector.disk().logical_sector;
        let enough = Shape {
            size: required * u64::from(logical_sector),
            logical_sector,
        };
        let minimum = vector.dump("minimum.sfdisk");
        fill(&original, minimum.as_ref(), &fixed, &enough).unwrap();
    }
}
