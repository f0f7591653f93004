//! `images`, and what we keep about their files.

use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{ImageFacts, NotBlake3, StreamFacts};
use sqlx::FromRow;

use super::{Connection, ImageId};
use crate::clock::Timestamp;

/// An image as FOG knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Number.
    pub id: ImageId,
    /// Display name.
    pub name: String,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system, FOG's number.
    pub os_id: i64,
    /// `imgFormat`: 0 gzip, 3 plain, 5 zstd; 2, 4, 6 the same in chunks; 1 partimage.
    pub format: u8,
    /// Bytes in the store.
    pub stored_size: u64,
}

/// A file of an image when it was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Name in the image directory.
    pub name: String,
    /// Stream and position in it; `None` for files that are not sent.
    pub place: Option<Place>,
    /// Length in bytes.
    pub size: u64,
    /// Last change, nanoseconds since 1970.
    pub mtime: i64,
    /// BLAKE3 of a small file, in hexadecimal digits; empty if not known.
    pub blake3: String,
}

/// Where a file's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Position of the stream in sending order, from 0.
    pub stream: u32,
    /// Position of the file in the stream, from 0.
    pub part: u32,
}

/// All that was found out about an image when it was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// When.
    pub checked_at: Timestamp,
    /// Whether every stream was decoded to its end.
    pub is_verified: bool,
    /// All files.
    pub files: Vec<StoredFile>,
    /// The streams in sending order.
    pub streams: Vec<StreamFacts>,
}

/// Why an image was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddImageError {
    /// The name is not usable.
    #[error("{0:?} cannot be an image name: 1 to 40 printable characters are needed")]
    Name(String),
    /// The name is taken.
    #[error("there is already an image called {0}; choose another name or remove that image first")]
    NameTaken(String),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// What a new image is.
#[derive(Debug, Clone)]
pub struct NewImage<'a> {
    /// Display name.
    pub name: &'a str,
    /// Directory below the image root.
    pub path: &'a str,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system.
    pub os_id: i64,
    /// `imgFormat`.
    pub format: u8,
}

/// Checks whether an image of this name could be added.
///
/// # Errors
/// If the name is not usable or taken.
pub async fn check_name(conn: &mut Connection, name: &str) -> Result<(), AddImageError> {
    let length = name.chars().count();
    if !(1..=40).contains(&length) || name.chars().any(char::is_control) || name.trim() != name {
        return Err(AddImageError::Name(name.chars().take(60).collect()));
    }
    match by_name(conn, name).await? {
        Some(_) => Err(AddImageError::NameTaken(name.to_owned())),
        None => Ok(()),
    }
}

/// Adds an image with its facts; run it in a transaction.
///
/// # Errors
/// If the name is not usable or taken.
pub async fn add(
    conn: &mut Connection,
    image: &NewImage<'_>,
    facts: &Facts,
) -> Result<ImageId, AddImageError> {
    check_name(conn, image.name).await?;
    let stored: u64 = facts.files.iter().map(|file| file.size).sum();
    let sizes: String = facts
        .streams
        .iter()
        .map(|stream| format!("{}:", stream.image.device_size))
        .collect();
    let inserted = sqlx::query(
        "INSERT INTO images (imageName, imagePath, imageDateTime, imageCreateBy, imageSize, \
         imageTypeID, imageOSID, imageFormat, imageServerSize) \
         VALUES (?, ?, ?, 'fos-server', ?, ?, ?, ?, ?)",
    )
    .bind(image.name)
    .bind(image.path)
    .bind(facts.checked_at.to_string())
    .bind(sizes.chars().take(255).collect::<String>())
    .bind(image.image_type.number())
    .bind(image.os_id)
    .bind(image.format.to_string())
    .bind(signed(stored))
    .execute(&mut *conn)
    .await?;
    let id = ImageId(inserted.last_insert_rowid());
    add_facts(conn, id, facts).await?;
    Ok(id)
}

async fn add_facts(conn: &mut Connection, id: ImageId, facts: &Facts) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO fos_images (imageID, checkedAt, verified) VALUES (?, ?, ?)")
        .bind(id)
        .bind(facts.checked_at.to_string())
        .bind(facts.is_verified)
        .execute(&mut *conn)
        .await?;
    for file in &facts.files {
        sqlx::query(
            "INSERT INTO fos_imageFiles (imageID, name, streamIndex, part, size, mtime, blake3) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(&file.name)
        .bind(file.place.map(|place| place.stream))
        .bind(file.place.map_or(0, |place| place.part))
        .bind(signed(file.size))
        .bind(file.mtime)
        .bind(&file.blake3)
        .execute(&mut *conn)
        .await?;
    }
    for (index, stream) in (0_u32..).zip(&facts.streams) {
        let json = serde_json::to_string(&stream.image)
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query(
            "INSERT INTO fos_imageStreams (imageID, streamIndex, name, size, blake3, facts) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(index)
        .bind(stream.name.as_str())
        .bind(signed(stream.stored_len))
        .bind(stream.blake3.to_string())
        .bind(json)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

#[derive(FromRow)]
struct ImageRow {
    #[sqlx(rename = "imageID")]
    id: ImageId,
    #[sqlx(rename = "imageName")]
    name: String,
    #[sqlx(rename = "imagePath")]
    path: String,
    #[sqlx(rename = "imageTypeID")]
    image_type: i64,
    #[sqlx(rename = "imageOSID")]
    os_id: i64,
    #[sqlx(rename = "imageFormat")]
    format: Option<String>,
    #[sqlx(rename = "imageServerSize")]
    stored_size: i64,
}

const COLUMNS: &str =
    "imageID, imageName, imagePath, imageTypeID, imageOSID, imageFormat, imageServerSize";

impl TryFrom<ImageRow> for Image {
    type Error = sqlx::Error;

    fn try_from(row: ImageRow) -> Result<Self, sqlx::Error> {
        let image_type = ImageType::from_number(row.image_type).ok_or_else(|| {
            let text = format!("image {} has the unknown type {}", row.id, row.image_type);
            sqlx::Error::Decode(text.into())
        })?;
        Ok(Self {
            id: row.id,
            name: row.name,
            path: row.path,
            image_type,
            os_id: row.os_id,
            format: row.format.and_then(|text| text.parse().ok()).unwrap_or(0),
            stored_size: unsigned(row.stored_size),
        })
    }
}

/// The image of this number.
///
/// # Errors
/// If the database fails.
pub async fn by_id(conn: &mut Connection, id: ImageId) -> sqlx::Result<Option<Image>> {
    let row: Option<ImageRow> =
        sqlx::query_as(&format!("SELECT {COLUMNS} FROM images WHERE imageID = ?"))
            .bind(id)
            .fetch_optional(conn)
            .await?;
    row.map(Image::try_from).transpose()
}

/// The image of this display name.
///
/// # Errors
/// If the database fails.
pub async fn by_name(conn: &mut Connection, name: &str) -> sqlx::Result<Option<Image>> {
    let row: Option<ImageRow> =
        sqlx::query_as(&format!("SELECT {COLUMNS} FROM images WHERE imageName = ?"))
            .bind(name)
            .fetch_optional(conn)
            .await?;
    row.map(Image::try_from).transpose()
}

/// The image that a person means: its name, else its number.
///
/// # Errors
/// If the database fails.
pub async fn find(conn: &mut Connection, wanted: &str) -> sqlx::Result<Option<Image>> {
    if let Some(image) = by_name(conn, wanted).await? {
        return Ok(Some(image));
    }
    match wanted.parse() {
        Ok(number) => by_id(conn, ImageId(number)).await,
        Err(_) => Ok(None),
    }
}

/// All images by name.
///
/// # Errors
/// If the database fails.
pub async fn all(conn: &mut Connection) -> sqlx::Result<Vec<Image>> {
    let rows: Vec<ImageRow> =
        sqlx::query_as(&format!("SELECT {COLUMNS} FROM images ORDER BY imageName"))
            .fetch_all(conn)
            .await?;
    rows.into_iter().map(Image::try_from).collect()
}

/// What was found out when the image was added; `None` if it was added by another program.
///
/// # Errors
/// If the database fails or holds rubbish.
pub async fn facts(conn: &mut Connection, id: ImageId) -> sqlx::Result<Option<Facts>> {
    let head: Option<(String, bool)> =
        sqlx::query_as("SELECT checkedAt, verified FROM fos_images WHERE imageID = ?")
            .bind(id)
            .fetch_optional(&mut *conn)
            .await?;
    let Some((checked_at, is_verified)) = head else {
        return Ok(None);
    };
    let files: Vec<(String, Option<u32>, u32, i64, i64, String)> = sqlx::query_as(
        "SELECT name, streamIndex, part, size, mtime, blake3 FROM fos_imageFiles WHERE imageID = ? \
         ORDER BY name",
    )
    .bind(id)
    .fetch_all(&mut *conn)
    .await?;
    let streams: Vec<(String, i64, String, String)> = sqlx::query_as(
        "SELECT name, size, blake3, facts FROM fos_imageStreams WHERE imageID = ? \
         ORDER BY streamIndex",
    )
    .bind(id)
    .fetch_all(conn)
    .await?;
    let streams = streams.into_iter().map(|(name, size, blake3, json)| {
        let image: ImageFacts =
            serde_json::from_str(&json).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(StreamFacts {
            name: StreamName::of_file(&name),
            stored_len: unsigned(size),
            blake3: blake3
                .parse()
                .map_err(|error: NotBlake3| sqlx::Error::Decode(error.into()))?,
            image,
        })
    });
    Ok(Some(Facts {
        checked_at: Timestamp::parse(&checked_at).unwrap_or(Timestamp(0)),
        is_verified,
        files: files
            .into_iter()
            .map(|(name, stream, part, size, mtime, blake3)| StoredFile {
                name,
                place: stream.map(|stream| Place { stream, part }),
                size: unsigned(size),
                mtime,
                blake3,
            })
            .collect(),
        streams: streams.collect::<sqlx::Result<_>>()?,
    }))
}

/// Removes an image from the database; its files stay.
///
/// # Errors
/// If the database fails.
pub async fn remove(conn: &mut Connection, id: ImageId) -> sqlx::Result<()> {
    for statement in [
        "DELETE FROM fos_imageFiles WHERE imageID = ?",
        "DELETE FROM fos_imageStreams WHERE imageID = ?",
        "DELETE FROM fos_images WHERE imageID = ?",
        "DELETE FROM images WHERE imageID = ?",
    ] {
        sqlx::query(statement).bind(id).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Stores the time of the last deploy.
///
/// # Errors
/// If the database fails.
pub async fn set_deployed(conn: &mut Connection, now: Timestamp, id: ImageId) -> sqlx::Result<()> {
    sqlx::query("UPDATE images SET imageLastDeploy = ? WHERE imageID = ?")
        .bind(now.to_string())
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn unsigned(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::Store;

    /// Facts of an image with these streams, each of one file.
    pub(crate) fn sample_facts(streams: &[&str]) -> Facts {
        let file = |name: &str, place| StoredFile {
            name: name.to_owned(),
            place,
            size: 1000,
            mtime: 1_700_000_000_000_000_000,
            blake3: String::new(),
        };
        let mut files = vec![file("d1.mbr", None)];
        for (index, name) in (0..).zip(streams) {
            let place = Place {
                stream: index,
                part: 0,
            };
            files.push(file(name, Some(place)));
        }
        Facts {
            checked_at: Timestamp(1_790_000_000),
            is_verified: true,
            files,
            streams: streams
                .iter()
                .map(|name| StreamFacts {
                    name: StreamName::of_file(name),
                    stored_len: 1000,
                    blake3: "ab".repeat(32).parse().unwrap(),
                    image: ImageFacts {
                        format: "partclone 0002".into(),
                        compression: "zstd".into(),
                        filesystem: "EXTFS".into(),
                        device_size: 1 << 20,
                        block_size: 4096,
                        total_blocks: 256,
                        used_blocks: Some(10),
                    },
                })
                .collect(),
        }
    }

    pub(crate) fn sample_image(name: &str) -> NewImage<'_> {
        NewImage {
            name,
            path: "dir",
            image_type: ImageType::Resizable,
            os_id: 50,
            format: 5,
        }
    }

    #[tokio::test]
    async fn facts_come_back_as_stored() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let stored = sample_facts(&["d1p1.img", "d1p10.img"]);
        let id = add(&mut conn, &sample_image("win 11"), &stored)
            .await
            .unwrap();
        assert_eq!(facts(&mut conn, id).await.unwrap().unwrap(), stored);
        let image = find(&mut conn, "win 11").await.unwrap().unwrap();
        assert_eq!(
            find(&mut conn, &id.to_string()).await.unwrap().unwrap(),
            image
        );
        assert_eq!((image.stored_size, image.format), (3000, 5));
        remove(&mut conn, id).await.unwrap();
        assert!(facts(&mut conn, id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn names_are_checked() {
        let store = Store::in_memory().await.unwrap();
        let mut conn = store.conn().await.unwrap();
        let facts = sample_facts(&["d1p1.img"]);
        add(&mut conn, &sample_image("a"), &facts).await.unwrap();
        let again = add(&mut conn, &sample_image("a"), &facts).await;
        assert!(matches!(again, Err(AddImageError::NameTaken(_))));
        for name in ["", " a", "a\n", &"x".repeat(41)] {
            let refused = add(&mut conn, &sample_image(name), &facts).await;
            assert!(matches!(refused, Err(AddImageError::Name(_))), "{name}");
        }
    }
}
