//! Images.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authority::{Admin, Operator, Viewer};
use super::body::{Body, Fields, Place};
use super::{Answer, SharedOps};
use crate::api::{
    Added, Api as _, ApiError, ApiErrorKind, Done, ImageAdd, ImageDescribe, ImageInspection,
    ImageRevert, ImageRoot, ImageShown, ImageUpdate, ImageVerification, Named, ReplicaStatus,
    Replicate, RootQuery, VersionRow, image_verification,
};
use crate::domain::ImageId;
use crate::http::to_the_end;

/// Where the images are; a conflict if they are said to be elsewhere.
///
/// Role: viewer.
#[utoipa::path(get, path = "/image-root", tag = "images", operation_id = "showImageRoot", params(RootQuery),
    responses((status = 200, description = "Where they are", body = ImageRoot)))]
pub(super) async fn root(
    _: Viewer,
    State(ops): State<SharedOps>,
    Fields(request): Fields<RootQuery>,
) -> Answer<ImageRoot> {
    ops.image_root(request).await.map(Json)
}

/// The images, by name, with what is known of their files.
///
/// Role: viewer.
#[utoipa::path(get, path = "/images", tag = "images", operation_id = "listImages",
    responses((status = 200, description = "By name", body = Vec<ImageShown>)))]
pub(super) async fn list(_: Viewer, State(ops): State<SharedOps>) -> Answer<Vec<ImageShown>> {
    ops.image_list().await.map(Json)
}

/// An image with what is known of its files.
///
/// Role: viewer.
#[utoipa::path(get, path = "/images/{image}", tag = "images", operation_id = "showImage",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "The image", body = ImageShown)))]
pub(super) async fn show(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<ImageShown> {
    ops.image_show(&image).await.map(Json)
}

/// An image looked at: its disks with their partitions and the least disk that it fits on, its streams and files with
/// their hashes, and what is wrong with it. Its large files are not read.
///
/// Role: viewer.
#[utoipa::path(get, path = "/images/{image}/inspection", tag = "images", operation_id = "inspectImage",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "What there is to say of it", body = ImageInspection)))]
pub(super) async fn inspect(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<ImageInspection> {
    ops.image_inspect(&image).await.map(Json)
}

/// Registers an image whose files were read and verified (`fos-server image add` does that).
///
/// Role: admin.
#[utoipa::path(post, path = "/images", tag = "images", operation_id = "addImage", request_body = ImageAdd,
    responses((status = 201, description = "It is registered", body = Added)))]
pub(super) async fn add(
    _: Admin,
    State(ops): State<SharedOps>,
    Body(request): Body<ImageAdd>,
) -> Result<(StatusCode, Json<Added>), ApiError> {
    let added = ops.image_add(request).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Replaces what is known of an image's files (`fos-server image update` finds it out).
///
/// Not while a session sends it. Role: admin.
#[utoipa::path(put, path = "/images/{image}", tag = "images", operation_id = "updateImage",
    request_body = ImageUpdate,
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "It is stored", body = Named)))]
pub(super) async fn update(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
    Body(request): Body<ImageUpdate>,
) -> Answer<Named> {
    crate::api::Api::image_update(&*ops, &image, request)
        .await
        .map(Json)
}

/// Forgets an image; its files stay.
///
/// Not while a session sends it. Role: admin.
#[utoipa::path(delete, path = "/images/{image}", tag = "images", operation_id = "removeImage",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "It is forgotten", body = Named)))]
pub(super) async fn remove(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<Named> {
    ops.image_remove(&image).await.map(Json)
}

/// Changes the name of an image, and what people say of it.
///
/// Its directory stays as it is. Role: admin.
#[utoipa::path(patch, path = "/images/{image}", tag = "images", operation_id = "describeImage",
    request_body = ImageDescribe,
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "It is stored", body = Named)))]
pub(super) async fn describe(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
    Body(request): Body<ImageDescribe>,
) -> Answer<Named> {
    ops.image_describe(&image, request).await.map(Json)
}

/// The versions of an image: the present one, and those that captures have replaced, the newest first.
///
/// Role: viewer.
#[utoipa::path(get, path = "/images/{image}/versions", tag = "images", operation_id = "listVersions",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "The present one first", body = Vec<VersionRow>)))]
pub(super) async fn versions(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<Vec<VersionRow>> {
    crate::api::Api::image_versions(&*ops, &image)
        .await
        .map(Json)
}

/// Brings a former version of an image back; the present one becomes a version.
///
/// Not while a session or a task uses the image. Role: admin.
#[utoipa::path(post, path = "/images/{image}/revert", tag = "images", operation_id = "revertImage",
    request_body = ImageRevert,
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "It is the present one", body = Named)))]
pub(super) async fn revert(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
    Body(request): Body<ImageRevert>,
) -> Answer<Named> {
    let work = async move { ops.image_revert(&image, request.version).await };
    to_the_end(work).await.map(Json)
}

/// Forgets an image, and removes its files and its versions for good.
///
/// Not while a session or a task uses it. Role: admin.
#[utoipa::path(delete, path = "/images/{image}/files", tag = "images", operation_id = "deleteImage",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "Nothing of it is left", body = Named)))]
pub(super) async fn delete(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<Named> {
    to_the_end(async move { ops.image_delete(&image).await })
        .await
        .map(Json)
}

/// Looks whether the files of an image are those that were verified, by size and date, as before each deploy.
///
/// Role: operator.
#[utoipa::path(post, path = "/images/{image}/check", tag = "images", operation_id = "checkImage",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "They are", body = Done)))]
pub(super) async fn check(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<Done> {
    ops.image_check(&image).await.map(Json)
}

/// Begins to read and decode all of an image on the server, and to compare it with what was added.
///
/// One image at a time; it goes on by itself. Role: operator.
#[utoipa::path(post, path = "/images/{image}/verification", tag = "images", operation_id = "verifyImage",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 202, description = "It is begun", body = Named)))]
pub(super) async fn verify(
    _: Operator,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Result<(StatusCode, Json<Named>), ApiError> {
    let name = ops.begin_verification(&image).await?;
    Ok((StatusCode::ACCEPTED, Json(Named { name })))
}

/// How the last verification of an image goes, or went; not kept over a restart of the server.
///
/// Role: viewer.
#[utoipa::path(get, path = "/images/{image}/verification", tag = "images", operation_id = "showVerification",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "How it goes, or went", body = ImageVerification)))]
pub(super) async fn verification(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<ImageVerification> {
    let image = ops.image_show(&image).await?;
    match ops.verification(ImageId(image.id)) {
        Some(found) => Ok(Json(image_verification(&image.name, &found))),
        None => {
            let name = fog::encoding::printable(&image.name, 60);
            let text = format!("image {name} was not verified since the server was started");
            Err(ApiError::new(ApiErrorKind::NotFound, text))
        }
    }
}

/// Has an image copied to a server that lacks it, or to all of them, from one that has it.
///
/// Every byte is compared with what was verified; what is cut off goes on where it was. Role: admin.
#[utoipa::path(post, path = "/images/{image}/replication", tag = "images", operation_id = "replicateImage",
    request_body = Replicate,
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 202, description = "It is begun", body = Named)))]
pub(super) async fn replicate(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
    Body(request): Body<Replicate>,
) -> Result<(StatusCode, Json<Named>), ApiError> {
    let named = ops.image_replicate(&image, request).await?;
    Ok((StatusCode::ACCEPTED, Json(named)))
}

/// At which servers an image is, and how copies of it go.
///
/// Role: viewer.
#[utoipa::path(get, path = "/images/{image}/replication", tag = "images", operation_id = "showReplication",
    params(("image" = String, Path, description = "Its name or number")),
    responses((status = 200, description = "The asked server first", body = Vec<ReplicaStatus>)))]
pub(super) async fn replicas(
    _: Viewer,
    State(ops): State<SharedOps>,
    Place(image): Place<String>,
) -> Answer<Vec<ReplicaStatus>> {
    ops.image_replicas(&image).await.map(Json)
}
