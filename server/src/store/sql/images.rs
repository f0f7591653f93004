//! `images`, and what is known of their files.

use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{ImageFacts, StreamFacts};

use super::row::{ACTIVE, Row, args, unless_broken};
use super::tx::Tx;
use crate::domain::image::{Facts, Image, ImageName, ImageSettings, NewImage, Place, StoredFile};
use crate::domain::{ImageId, SessionId, TaskId, Timestamp};
use crate::store::{
    AddImageError, CapturedImage, Change, ChangeError, DescribeError, Result, StoreError,
};

/// Adds an image with its facts.
pub(super) async fn add(
    tx: &mut Tx,
    image: NewImage,
    facts: Facts,
) -> std::result::Result<ImageId, AddImageError> {
    let name = image.name.as_str();
    if tx.has_left_something() {
        remove_first_try(tx, &image, &facts).await?;
    }
    let sql = "SELECT imageID FROM images WHERE imageName = ?";
    if tx.number(sql, args![name]).await?.is_some() {
        return Err(AddImageError::NameTaken(name.to_owned()));
    }
    let row = vec![
        ("imageName", name.into()),
        ("imagePath", image.path.into()),
        ("imageDateTime", facts.checked_at.into()),
        ("imageCreateBy", "fos-server".into()),
        ("imageSize", device_sizes(&facts).into()),
        ("imageTypeID", image.image_type.number().into()),
        ("imagePartitionTypeID", EVERYTHING.into()),
        ("imageOSID", image.os_id.into()),
        ("imageFormat", image.format.to_string().into()),
        ("imageServerSize", stored_size(&facts)?.into()),
    ];
    let id = ImageId(tx.add("images", row).await?);
    add_to_group(tx, id).await?;
    // FOG's numbers come again when its table is emptied.
    remove_facts(tx, id).await?;
    add_facts(tx, id, &facts).await?;
    tx.changed(Change::Images);
    Ok(id)
}

async fn add_to_group(tx: &mut Tx, id: ImageId) -> Result<()> {
    if tx.has_table(GROUPS) {
        let row = vec![
            ("igaImageID", id.into()),
            ("igaStorageGroupID", DEFAULT_GROUP.into()),
            ("igaPrimary", "1".into()),
        ];
        tx.add(GROUPS, row).await?;
    }
    Ok(())
}

/// Takes out the image that this very operation added before its connection broke.
async fn remove_first_try(tx: &mut Tx, image: &NewImage, facts: &Facts) -> Result<()> {
    let sql =
        "SELECT imageID, imagePath, imageCreateBy, imageDateTime FROM images WHERE imageName = ?";
    for row in tx.rows(sql, args![image.name.as_str()]).await? {
        let cells = row.of("images", &["imageID"]);
        let is_ours = cells.optional_text("imageCreateBy")? == "fos-server"
            && cells.optional_text("imagePath")? == image.path
            && unless_broken(cells.optional_time("imageDateTime"))?.flatten()
                == Some(facts.checked_at);
        if is_ours {
            remove_rows(tx, ImageId(cells.int("imageID")?)).await?;
        }
    }
    Ok(())
}

/// Everything of an image.
async fn remove_rows(tx: &mut Tx, image: ImageId) -> Result<()> {
    remove_facts(tx, image).await?;
    if tx.has_table(GROUPS) {
        let sql = "DELETE FROM imageGroupAssoc WHERE igaImageID = ?";
        tx.run(sql, args![image]).await?;
    }
    tx.run("DELETE FROM images WHERE imageID = ?", args![image])
        .await?;
    Ok(())
}

/// Replaces what is known of an image's files.
pub(super) async fn update(
    tx: &mut Tx,
    image: ImageId,
    format: u8,
    facts: Facts,
) -> std::result::Result<(), ChangeError> {
    check_unused(tx, image).await?;
    let mut columns = vec![
        ("imageFormat", format.to_string().into()),
        ("imageServerSize", stored_size(&facts)?.into()),
    ];
    // FOG has there what its capture found.
    if !tx.is_fogs() {
        columns.push(("imageSize", device_sizes(&facts).into()));
    }
    tx.set("images", columns, "imageID = ?", args![image])
        .await?;
    remove_facts(tx, image).await?;
    add_facts(tx, image, &facts).await?;
    tx.changed(Change::Images);
    Ok(())
}

/// Puts what was captured, or an earlier version, in the place of an image's files, as far as the rows know them.
/// `capture` is the task that it comes from, which must be active.
pub(super) async fn replace(
    tx: &mut Tx,
    image: ImageId,
    facts: Facts,
    capture: Option<TaskId>,
) -> std::result::Result<(), ChangeError> {
    let settings = facts.settings.as_ref();
    let settings =
        settings.ok_or_else(|| StoreError::Internal("an image without its settings".to_owned()))?;
    let columns = vec![
        ("imageFormat", settings.format.to_string().into()),
        ("imageTypeID", settings.image_type.number().into()),
        ("imageOSID", settings.os_id.into()),
        ("imageServerSize", stored_size(&facts)?.into()),
        ("imageSize", device_sizes(&facts).into()),
    ];
    check_no_session(tx, image).await?;
    let sql = format!(
        "SELECT MIN(taskID) FROM tasks WHERE taskImageID = ? AND taskStateID IN {ACTIVE} AND taskID <> ?"
    );
    let own = capture.unwrap_or(TaskId(0));
    if let Some(task) = tx.number(&sql, args![image, own]).await? {
        return Err(ChangeError::InTask(TaskId(task)));
    }
    if let Some(task) = capture {
        let sql = format!("SELECT taskID FROM tasks WHERE taskID = ? AND taskStateID IN {ACTIVE}");
        if tx.number(&sql, args![task]).await?.is_none() {
            return Err(ChangeError::TaskOver(task));
        }
    }
    // Where FOG's tables undo nothing: who is cut off here finds facts that do not match the row, which nobody deploys.
    tx.set("images", columns, "imageID = ?", args![image])
        .await?;
    remove_facts(tx, image).await?;
    add_facts(tx, image, &facts).await?;
    tx.changed(Change::Images);
    Ok(())
}

/// An image that is to be captured; made without files if there is none of this name.
pub(super) async fn for_capture(tx: &mut Tx, at: Timestamp, new: &CapturedImage) -> Result<Image> {
    let sql = format!("SELECT {} FROM images WHERE imageName = ?", columns(tx));
    let found = tx.row(&sql, args![new.image.name.as_str()]).await?;
    let id = match &found {
        Some(row) => {
            let found = image(row)?;
            if let Some(level) = new.compression {
                let columns = vec![("imageCompress", i64::from(level).into())];
                tx.set("images", columns, "imageID = ?", args![found.id])
                    .await?;
            }
            found.id
        }
        None => {
            let mut row = vec![
                ("imageName", new.image.name.as_str().into()),
                ("imagePath", new.image.path.as_str().into()),
                ("imageDateTime", at.into()),
                ("imageCreateBy", "fos-server".into()),
                ("imageTypeID", new.image.image_type.number().into()),
                ("imagePartitionTypeID", EVERYTHING.into()),
                ("imageOSID", new.image.os_id.into()),
                ("imageFormat", new.image.format.to_string().into()),
            ];
            if let Some(level) = new.compression {
                row.push(("imageCompress", i64::from(level).into()));
            }
            let id = ImageId(tx.add("images", row).await?);
            add_to_group(tx, id).await?;
            // FOG's numbers come again when its table is emptied.
            remove_facts(tx, id).await?;
            id
        }
    };
    tx.changed(Change::Images);
    by_id(tx, id)
        .await?
        .ok_or_else(|| StoreError::Internal("an image that was just added is not there".to_owned()))
}

/// Changes what people call an image and say of it.
pub(super) async fn describe(
    tx: &mut Tx,
    image: ImageId,
    name: Option<ImageName>,
    note: Option<String>,
) -> std::result::Result<(), DescribeError> {
    let sql = "SELECT imageID FROM images WHERE imageID = ?";
    if tx.number(sql, args![image]).await?.is_none() {
        return Err(DescribeError::Gone);
    }
    let mut columns = Vec::new();
    if let Some(name) = &name {
        let sql = "SELECT imageID FROM images WHERE imageName = ? AND imageID <> ?";
        if tx.number(sql, args![name.as_str(), image]).await?.is_some() {
            return Err(DescribeError::NameTaken(name.as_str().to_owned()));
        }
        columns.push(("imageName", name.as_str().into()));
    }
    if let Some(note) = note {
        columns.push(("imageDesc", note.into()));
    }
    if columns.is_empty() {
        return Ok(());
    }
    tx.set("images", columns, "imageID = ?", args![image])
        .await?;
    tx.changed(Change::Images);
    Ok(())
}

/// Forgets an image; it is no host's default any more.
pub(super) async fn remove(tx: &mut Tx, image: ImageId) -> std::result::Result<(), ChangeError> {
    match check_unused(tx, image).await {
        // By this operation, before its connection broke.
        Err(ChangeError::Gone) if tx.has_left_something() => {}
        found => found?,
    }
    remove_rows(tx, image).await?;
    let sql = "UPDATE hosts SET hostImage = 0 WHERE hostImage = ?";
    if tx.run(sql, args![image]).await? > 0 {
        tx.changed(Change::Hosts);
    }
    tx.changed(Change::Images);
    Ok(())
}

/// The storage groups of images.
const GROUPS: &str = "imageGroupAssoc";

/// FOG's `default`.
const DEFAULT_GROUP: i64 = 1;

/// The row of FOG's `imagePartitionTypes`.
const EVERYTHING: i64 = 1;

async fn check_unused(tx: &mut Tx, image: ImageId) -> std::result::Result<(), ChangeError> {
    check_no_session(tx, image).await?;
    let sql =
        format!("SELECT MIN(taskID) FROM tasks WHERE taskImageID = ? AND taskStateID IN {ACTIVE}");
    match tx.number(&sql, args![image]).await? {
        Some(task) => Err(ChangeError::InTask(TaskId(task))),
        None => Ok(()),
    }
}

async fn check_no_session(tx: &mut Tx, image: ImageId) -> std::result::Result<(), ChangeError> {
    let sql = "SELECT imageID FROM images WHERE imageID = ?";
    if tx.number(sql, args![image]).await?.is_none() {
        return Err(ChangeError::Gone);
    }
    let sql = format!(
        "SELECT MIN(msID) FROM multicastSessions WHERE TRIM(msImage) = ? AND msState IN {ACTIVE}"
    );
    match tx.number(&sql, args![image.to_string()]).await? {
        Some(session) => Err(ChangeError::InUse(SessionId(session))),
        None => Ok(()),
    }
}

async fn add_facts(tx: &mut Tx, id: ImageId, facts: &Facts) -> Result<()> {
    let settings = facts.settings.as_ref().map(json).transpose()?;
    let sql = "INSERT INTO fos_images (imageID, checkedAt, verified, settings) VALUES (?, ?, ?, ?)";
    let values = args![
        id,
        facts.checked_at,
        facts.is_verified,
        settings.unwrap_or_default()
    ];
    tx.run(sql, values).await?;
    for file in &facts.files {
        let sql = "INSERT INTO fos_imageFiles (imageID, name, streamIndex, part, size, mtime, \
            blake3) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = args![
            id,
            file.name.as_str(),
            file.place.map(|place| place.stream),
            file.place.map_or(0, |place| place.part),
            signed(file.size)?,
            file.mtime,
            file.blake3.as_str(),
        ];
        tx.run(sql, values).await?;
    }
    for (index, stream) in (0_u32..).zip(&facts.streams) {
        let sql = "INSERT INTO fos_imageStreams (imageID, streamIndex, name, size, blake3, facts) \
            VALUES (?, ?, ?, ?, ?, ?)";
        let values = args![
            id,
            index,
            stream.name.as_str(),
            signed(stream.stored_len)?,
            stream.blake3.to_string(),
            json(&stream.image)?,
        ];
        tx.run(sql, values).await?;
    }
    Ok(())
}

async fn remove_facts(tx: &mut Tx, image: ImageId) -> Result<()> {
    for sql in [
        "DELETE FROM fos_imageFiles WHERE imageID = ?",
        "DELETE FROM fos_imageStreams WHERE imageID = ?",
        "DELETE FROM fos_images WHERE imageID = ?",
    ] {
        tx.run(sql, args![image]).await?;
    }
    Ok(())
}

/// All images by name.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<Image>> {
    let sql = format!(
        "SELECT {} FROM images ORDER BY imageName, imageID",
        columns(tx)
    );
    let rows = tx.rows(&sql, Vec::new()).await?;
    let images = rows.iter().map(|row| unless_broken(image(row)));
    images.filter_map(Result::transpose).collect()
}

/// The image of this name, else of this number.
pub(super) async fn find(tx: &mut Tx, wanted: String) -> Result<Option<Image>> {
    let sql = format!("SELECT {} FROM images WHERE imageName = ?", columns(tx));
    if let Some(row) = tx.row(&sql, args![wanted.as_str()]).await? {
        return image(&row).map(Some);
    }
    match wanted.parse() {
        Ok(number) => by_id(tx, ImageId(number)).await,
        Err(_) => Ok(None),
    }
}

/// The image of this number.
pub(super) async fn by_id(tx: &mut Tx, id: ImageId) -> Result<Option<Image>> {
    let sql = format!("SELECT {} FROM images WHERE imageID = ?", columns(tx));
    let row = tx.row(&sql, args![id]).await?;
    row.as_ref().map(image).transpose()
}

/// The columns of an image.
fn columns(tx: &Tx) -> String {
    let more = tx.list("images", &["imageDesc", "imageCompress"]);
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        "imageID, imageName, imagePath, imageTypeID, imageOSID, imageFormat, imageServerSize{comma}{more}"
    )
}

fn image(row: &Row) -> Result<Image> {
    let cells = row.of("images", &["imageID"]);
    let image_type = ImageType::from_number(cells.int("imageTypeID")?);
    let format = |text: &str| text.parse().ok().filter(|format| *format <= 9);
    Ok(Image {
        id: ImageId(cells.int("imageID")?),
        name: cells.text("imageName")?,
        path: cells.text("imagePath")?,
        image_type: image_type.ok_or_else(|| cells.broken("imageTypeID", "a type from 1 to 4"))?,
        os_id: cells.int("imageOSID")?,
        // Images of old versions of FOG have none: gzip.
        format: cells
            .optional("imageFormat", "a digit", format)?
            .unwrap_or(0),
        stored_size: cells.number("imageServerSize", SIZE)?,
        note: cells.optional_text("imageDesc")?,
        // Any program may write it, and it decides nothing.
        compression: cells.number("imageCompress", "a level").ok(),
    })
}

const SIZE: &str = "a number of bytes from 0 on";

/// What is known of an image's files; `None` if this server never looked at them.
pub(super) async fn facts(tx: &mut Tx, id: ImageId) -> Result<Option<Facts>> {
    let sql = "SELECT imageID, checkedAt, verified, settings FROM fos_images WHERE imageID = ?";
    let Some(head) = tx.row(sql, args![id]).await? else {
        return Ok(None);
    };
    let sql = "SELECT imageID, name, streamIndex, part, size, mtime, blake3 FROM fos_imageFiles \
        WHERE imageID = ? ORDER BY name";
    let files = tx.rows(sql, args![id]).await?;
    let sql = "SELECT imageID, streamIndex, name, size, blake3, facts FROM fos_imageStreams \
        WHERE imageID = ? ORDER BY streamIndex";
    let streams = tx.rows(sql, args![id]).await?;
    let cells = head.of("fos_images", &["imageID"]);
    let settings = |text: &str| serde_json::from_str::<ImageSettings>(text).ok();
    Ok(Some(Facts {
        checked_at: cells.time("checkedAt")?,
        is_verified: cells.flag("verified")?,
        settings: cells.optional("settings", "settings of an image, in JSON", settings)?,
        files: files.iter().map(file).collect::<Result<_>>()?,
        streams: (0..).zip(&streams).map(stream).collect::<Result<_>>()?,
    }))
}

fn file(row: &Row) -> Result<StoredFile> {
    let cells = row.of("fos_imageFiles", &["imageID", "name"]);
    let position = "a position from 0 on";
    let stream = cells.optional("streamIndex", position, |text| text.parse().ok())?;
    let part = cells.number("part", position)?;
    Ok(StoredFile {
        name: cells.text("name")?,
        place: stream.map(|stream| Place { stream, part }),
        size: cells.number("size", SIZE)?,
        mtime: cells.int("mtime")?,
        blake3: cells.text("blake3")?,
    })
}

fn stream((index, row): (u32, &Row)) -> Result<StreamFacts> {
    let cells = row.of("fos_imageStreams", &["imageID", "streamIndex"]);
    if cells.number::<u32>("streamIndex", "a position from 0 on")? != index {
        return Err(cells.broken("streamIndex", "no gap before it"));
    }
    let json = |text: &str| serde_json::from_str::<ImageFacts>(text).ok();
    Ok(StreamFacts {
        name: StreamName::of_file(&cells.text("name")?),
        stored_len: cells.number("size", SIZE)?,
        blake3: cells.parsed("blake3", "64 hexadecimal digits", |text: &str| {
            text.parse().ok()
        })?,
        image: cells.parsed("facts", "what an image header says, in JSON", json)?,
    })
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(error.to_string()))
}

/// Sizes of the source devices as FOG lists them.
fn device_sizes(facts: &Facts) -> String {
    let sizes = facts.streams.iter().map(|stream| stream.image.device_size);
    let text: String = sizes.map(|size| format!("{size}:")).collect();
    text.chars().take(255).collect()
}

fn stored_size(facts: &Facts) -> Result<i64> {
    let sizes = facts.files.iter().map(|file| file.size);
    signed(sizes.fold(0, u64::saturating_add))
}

fn signed(size: u64) -> Result<i64> {
    i64::try_from(size)
        .map_err(|_| StoreError::Internal(format!("a size of {size} bytes cannot be stored")))
}
