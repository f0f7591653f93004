//! Swap spaces: an image records at most their UUIDs, so they are made anew.

use deploy_plan::{Place, WhichPlace};
use disk::{SWAP_PAGE, Target, Uuid, swap_header};

/// Why a swap space was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    #[error("swap space on {which}: {source}")]
    Header {
        which: WhichPlace,
        source: disk::SwapError,
    },
    #[error("swap space on {which}: {source}")]
    Write {
        which: WhichPlace,
        source: disk::WriteError,
    },
    #[error("the system has no random numbers for the UUID of swap space: {0}")]
    Random(getrandom::Error),
}

/// Makes a swap space. One whose UUID is not recorded gets a new one; the plan has a warning.
pub(crate) fn create(place: Place<'_>, target: &Target) -> Result<(), SwapError> {
    let which = place.which();
    let uuid = match place.swap_uuid() {
        Some(uuid) => uuid,
        None => random_uuid()?,
    };
    let header = match swap_header(place.len(), uuid, SWAP_PAGE) {
        Ok(header) => header,
        Err(source) => return Err(SwapError::Header { which, source }),
    };
    target
        .writer(place.offset(), place.len())
        .and_then(|mut writer| {
            writer.write_at(0, &header)?;
            writer.finish()
        })
        .map(drop)
        .map_err(|source| SwapError::Write { which, source })
}

/// A UUID of version 4 (RFC 9562, section 5.4), as mkswap makes it.
fn random_uuid() -> Result<Uuid, SwapError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(SwapError::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(Uuid::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, DISK_LEN};
    use super::*;

    /// The header of the swap space of partition 2, made with this list.
    fn made(list: Option<&str>) -> Vec<u8> {
        let (manifest, files) = samples::with_swap(list);
        let shape = disk::Shape {
            size: DISK_LEN,
            logical_sector: 512,
        };
        let plan = deploy_plan::plan(&manifest, &files, &[shape]).unwrap();

        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(DISK_LEN).unwrap();
        let target = Target::open(file.path(), &shape).unwrap();
        let table = plan.disks[0].table.as_ref().unwrap();
        target.make_unbootable(table, &[]).unwrap();
        for place in plan.swap_spaces() {
            create(place, &target).unwrap();
        }
        drop(target);
        let written = std::fs::read(file.path()).unwrap();
        written[samples::region(2)][..4096].to_vec()
    }

    #[test]
    fn swap_spaces_are_made_with_their_uuid() {
        let uuid = "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d";
        let swap = made(Some(&format!("2 {uuid}\n")));
        assert_eq!(&swap[4086..], b"SWAPSPACE2");
        assert_eq!(swap[1036], 0x8c);
    }

    #[test]
    fn swap_spaces_of_unknown_uuid_get_a_new_one() {
        for list in [None, Some(""), Some("2\n")] {
            let uuids = [made(list), made(list)].map(|swap| {
                assert_eq!(&swap[4086..], b"SWAPSPACE2");
                Uuid::from_slice(&swap[1036..1052]).unwrap()
            });
            assert_eq!(uuids.map(|uuid| uuid.get_version_num()), [4, 4]);
            assert_ne!(uuids[0], uuids[1]);
        }
    }
}
