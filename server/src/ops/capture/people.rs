//! Captures as people begin them.

use fog::task::ImageType;

use crate::clock;
use crate::domain::TaskId;
use crate::domain::image::{BadImageName, ImageName, NewImage};
use crate::imagestore::arrivals::{self, Place};
use crate::imagestore::{ScanError, image_path};
use crate::ops::groups::NameError;
use crate::ops::{Ops, blocking};
use crate::store::{CapturedImage, CreateError, NewCapture, StoreError};

/// What is wanted of a capture.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// Host, by name.
    pub host: String,
    /// Image, by name: made if there is none.
    pub image: String,
    /// What it is to hold; that of the image if not given.
    pub image_type: Option<ImageType>,
    /// Operating system, FOG's number; that of the image if not given.
    pub os_id: Option<i64>,
    /// Level of zstd, from 1 to 19.
    pub level: Option<u8>,
    /// Whether the machine is switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machine boots to a shell.
    pub is_debug: bool,
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureTaskError {
    /// The host, or it is a group of several.
    #[error(transparent)]
    Host(#[from] NameError),
    /// A group has other than one host.
    #[error("{0} is not one host; a capture is of one")]
    NotOne(String),
    /// The image's name.
    #[error(transparent)]
    Image(#[from] BadImageName),
    /// The name is none of a directory.
    #[error(transparent)]
    Path(#[from] ScanError),
    /// The image is of another type.
    #[error(
        "image {image} is of type {is}, not {wanted}; leave out --type, or capture into another image"
    )]
    Type {
        /// Name.
        image: String,
        /// Its type.
        is: ImageType,
        /// The other one.
        wanted: ImageType,
    },
    /// The image is of another operating system.
    #[error(
        "image {image} is of operating system {is}; leave out --os, or capture into another image"
    )]
    System {
        /// Name.
        image: String,
        /// Its number.
        is: i64,
    },
    /// No image of this type can have this operating system.
    #[error(
        "image {image}: {cause} with --os (9 Windows 10, 10 Windows 11, 50 Linux), or capture as another type"
    )]
    Undeployable {
        /// Name.
        image: String,
        /// What a deploy would say.
        cause: deploy_plan::Refusal,
    },
    /// The level.
    #[error("a level of zstd is 1 to 19, not {0}")]
    Level(u8),
    /// Its place.
    #[error("{0}")]
    Place(String),
    /// The image store does not answer.
    #[error("the image store {0} does not answer; look whether its disk or mount hangs")]
    StoreHangs(String),
    /// It was not created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ops {
    /// Checks everything that can be checked, then creates the task of a capture, and its image if there is none.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is created then.
    pub async fn capture(&self, wanted: &CaptureRequest) -> Result<TaskId, CaptureTaskError> {
        let hosts = self.named_hosts(std::slice::from_ref(&wanted.host)).await?;
        let [host] = hosts.as_slice() else {
            let name = fog::encoding::printable(&wanted.host, 80);
            return Err(CaptureTaskError::NotOne(name));
        };
        if let Some(level) = wanted.level
            && !(1..=19).contains(&level)
        {
            return Err(CaptureTaskError::Level(level));
        }
        let found = self.store.find_image(&wanted.image).await?;
        let known = found.as_ref().map(|image| image.id);
        let is_new = known.is_none();
        let image = match found {
            Some(image) => {
                let name = fog::encoding::printable(&image.name, 60);
                if let Some(wanted) = wanted.image_type
                    && wanted != image.image_type
                {
                    return Err(CaptureTaskError::Type {
                        image: name,
                        is: image.image_type,
                        wanted,
                    });
                }
                if wanted.os_id.is_some_and(|wanted| wanted != image.os_id) {
                    let is = image.os_id;
                    return Err(CaptureTaskError::System { image: name, is });
                }
                NewImage {
                    name: image.name.parse()?,
                    path: image.path,
                    image_type: image.image_type,
                    os_id: image.os_id,
                    format: image.format,
                }
            }
            None => {
                let name: ImageName = wanted.image.parse()?;
                NewImage {
                    path: image_path(name.as_str())?,
                    name,
                    image_type: wanted.image_type.unwrap_or(ImageType::SingleDisk),
                    os_id: wanted.os_id.unwrap_or(OTHER_SYSTEM),
                    format: ZSTD,
                }
            }
        };
        // Else the machine would find it out when it has read its disk.
        deploy_plan::check_system(image.image_type, image.os_id).map_err(|cause| {
            CaptureTaskError::Undeployable {
                image: fog::encoding::printable(image.name.as_str(), 60),
                cause,
            }
        })?;
        self.check_place_of(&image, is_new).await?;
        if let Some(known) = known
            && let Some(other) = self.sharer_of(known, &image.path).await?
        {
            return Err(CaptureTaskError::Place(other.to_string()));
        }
        let new = NewCapture {
            host: host.id,
            image: CapturedImage {
                image,
                compression: wanted.level,
            },
            is_shutdown: wanted.is_shutdown,
            is_debug: wanted.is_debug,
        };
        let task = self.store.create_capture(clock::now(), new).await?;
        self.read_unicasts_soon().await;
        self.sessions.askers().changed([host.id]);
        Ok(task)
    }

    async fn check_place_of(&self, image: &NewImage, is_new: bool) -> Result<(), CaptureTaskError> {
        super::plain_path(&image.path).map_err(CaptureTaskError::Place)?;
        let (root, path) = (self.config.images.clone(), image.path.clone());
        let look = blocking(&self.readers, move || arrivals::check_place(&root, &path));
        let root = self.config.images.display().to_string();
        let hangs = || CaptureTaskError::StoreHangs(root.clone());
        let looked = tokio::time::timeout(super::arriving::READ_LIMIT, look).await;
        let place = looked.map_err(|_| hangs())?.map_err(|_| hangs())?;
        match place.map_err(CaptureTaskError::Place)? {
            Place::Directory if is_new => Err(CaptureTaskError::Place(format!(
                "there is a directory {}, and no image of that name; add it with fos-server image add, or capture \
                 into another image",
                self.config.images.join(&image.path).display()
            ))),
            _ => Ok(()),
        }
    }
}

/// FOG's number of images in zstd.
const ZSTD: u8 = 5;

/// FOG's number of an operating system that is none of the others.
const OTHER_SYSTEM: i64 = 99;
