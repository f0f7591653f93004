//! What the server tells about the image: manifest and small files.

use std::future::Future;
use std::time::{Duration, Instant};

use deploy_plan::SmallFiles;
use fog::encoding::printable;
use fos_api::{Blake3, FILE_PATH, MANIFEST_PATH, MAX_MANIFEST, Manifest, SmallFile};

use super::{CallError, Server, answer};
use crate::screen::Board;

/// Repeats a call as long as its failures are temporary, saying what is waited for.
///
/// # Errors
/// The last error, once `limit` is over or another try cannot help.
pub(crate) async fn persist<T, F>(
    board: &Board,
    what: &str,
    limit: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let start = Instant::now();
    loop {
        match answer(board, what, call()).await {
            Err(error) if error.is_temporary() && start.elapsed() < limit => {
                board.wait_for(what, vec![error.to_string()]);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            done => {
                board.go_on();
                return done;
            }
        }
    }
}

/// Fetches the manifest of the image in this machine's task.
pub(crate) async fn manifest(server: &Server, board: &Board) -> Result<Manifest, CallError> {
    persist(board, "the list of the image's contents", PATIENCE, || {
        server.json(MANIFEST_PATH, MAX_MANIFEST)
    })
    .await
}

/// Fetches every small file that the manifest lists, which must have been checked
/// ([`deploy_plan::check_manifest`]).
pub(crate) async fn small_files(
    server: &Server,
    board: &Board,
    manifest: &Manifest,
) -> Result<SmallFiles, CallError> {
    let mut files = SmallFiles::new();
    for file in &manifest.files {
        let name = printable(&file.name, 64);
        let what = format!("{name} of the image");
        let query = [("name", file.name.as_str())];
        // No byte more than the manifest says: it was checked that there is memory for all of them.
        let bytes = persist(board, &what, PATIENCE, || {
            server.own_bytes(FILE_PATH, &query, file.len)
        })
        .await?;
        check(file, &bytes).map_err(|detail| CallError::Unexpected {
            url: format!("{}{FILE_PATH}?name={name}", server.web()),
            detail,
        })?;
        files.insert(file.name.clone(), bytes);
    }
    Ok(files)
}

/// Compares what came with what the manifest promised; says what differs.
fn check(file: &SmallFile, bytes: &[u8]) -> Result<(), String> {
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if len != file.len {
        return Err(format!(
            "{len} bytes where the manifest says {}; was the image changed just now?",
            file.len
        ));
    }
    let found = Blake3::from(blake3::hash(bytes));
    match file.blake3 {
        Some(expected) if expected != found => Err(format!(
            "its BLAKE3 is {found}, the manifest says {expected}; was the image changed just now?"
        )),
        _ => Ok(()),
    }
}

const RETRY_PAUSE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use fog::task::ImageType;
    use fos_api::MANIFEST_VERSION;

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    fn manifest_with(len: u64) -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            image_id: 7,
            image_name: "lab".into(),
            image_path: "lab".into(),
            image_type: ImageType::SingleDisk,
            os_id: 50,
            scripts: Vec::new(),
            files: vec![SmallFile {
                name: "d1.mbr".into(),
                len,
                blake3: None,
            }],
            streams: Vec::new(),
        }
    }

    #[tokio::test]
    async fn files_come_by_name_and_with_their_length() {
        let server = TestServer::start(|_| Reply::bytes(&[1, 2, 3]));
        let board = Board::default();
        let files = small_files(&server.client(), &board, &manifest_with(3))
            .await
            .unwrap();
        assert_eq!(files["d1.mbr"], [1, 2, 3]);
        let request = server.requests().remove(0);
        assert_eq!(request.path, "/fog/service/fos/file");
        assert_eq!(request.field("name").as_deref(), Some("d1.mbr"));
        assert_eq!(request.field("mac").as_deref(), Some("00:1b:21:aa:bb:cc"));

        let error = small_files(&server.client(), &board, &manifest_with(4))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("3 bytes"), "{error}");

        // More than was promised is not even taken.
        let error = small_files(&server.client(), &board, &manifest_with(2))
            .await
            .unwrap_err();
        assert!(
            matches!(error, CallError::TooLong { limit: 2, .. }),
            "{error}"
        );

        let mut manifest = manifest_with(3);
        manifest.files[0].blake3 = Some(blake3::hash(&[1, 2, 3]).into());
        small_files(&server.client(), &board, &manifest)
            .await
            .unwrap();
        manifest.files[0].blake3 = Some(blake3::hash(&[1, 2, 4]).into());
        let error = small_files(&server.client(), &board, &manifest)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("BLAKE3"), "{error}");
    }

    #[tokio::test]
    async fn a_refused_manifest_is_final() {
        let server = TestServer::start(|_| Reply::status(404, "no active task"));
        let error = manifest(&server.client(), &Board::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no active task"), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}
