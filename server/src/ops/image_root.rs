//! Where the images are.

use std::time::Duration;

use crate::store::{Store, StoreError};

/// The image root: as given now (and kept for later), as given before, or the default.
///
/// # Errors
/// If the database fails.
pub async fn image_root(
    store: &dyn Store,
    given: Option<String>,
    default: String,
) -> Result<String, StoreError> {
    let root = match (given, store.image_root().await?) {
        (None, Some(kept)) => return Ok(kept),
        (Some(given), _) => given,
        (None, None) => default,
    };
    // A typing error must not be there for later commands.
    if !is_absent(&root).await {
        store.set_image_root(root.clone()).await?;
    }
    Ok(root)
}

/// Whether there is no such directory. One that hangs is there.
async fn is_absent(path: &str) -> bool {
    let found = tokio::time::timeout(LOOK_LIMIT, tokio::fs::metadata(path));
    matches!(found.await, Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound)
}

/// How long a directory may take to show that it is there.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
