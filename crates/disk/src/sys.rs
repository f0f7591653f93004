//! The block device ioctls, with safe functions around them.

#![expect(
    unsafe_code,
    reason = "ioctl is a foreign function; this module is the only place that calls it"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

mod raw {
    // `linux/fs.h`: _IOR(0x12, 114, size_t), _IO(0x12, 104), _IO(0x12, 95). BLKSSZGET stores an int
    // although its number carries no size.
    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), libc_int);
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    // `linux/fs.h`: _IO(0x12, 94), which stores an int.
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), libc_int);
    // `linux/fs.h`: _IO(0x12, 119), which takes two u64, start and length.
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);

    // `linux/loop.h`: numbers without direction or size. The first two return or take no structure.
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4c82);
    nix::ioctl_none_bad!(loop_clr_fd, 0x4c01);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4c0a, super::LoopConfig);

    #[expect(non_camel_case_types, reason = "named as in C")]
    pub(super) type libc_int = std::ffi::c_int;
}

/// `struct loop_config` of `linux/loop.h`, with `struct loop_info64` in its place. What is not named here
/// stays zero.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: [u64; 3],
    offset: u64,
    size_limit: u64,
    number_and_encryption: [u32; 3],
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

/// The device goes away with its last user.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// The number of a loop device that is free now (`LOOP_CTL_GET_FREE`), which it need not stay.
pub(crate) fn free_loop(control: &File) -> io::Result<u32> {
    // SAFETY: the descriptor is open for the duration of the call; the request has no argument.
    let number = unsafe { raw::loop_ctl_get_free(control.as_raw_fd()) }?;
    u32::try_from(number).map_err(|_| io::Error::other("the kernel gave no loop device"))
}

/// Makes a loop device show a part of `backing` (`LOOP_CONFIGURE`, Linux 5.8).
pub(crate) fn configure_loop(
    device: &File,
    backing: &File,
    (offset, len): (u64, u64),
    logical_sector: u32,
) -> io::Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?,
        block_size: logical_sector,
        device: [0; 3],
        offset,
        size_limit: len,
        number_and_encryption: [0; 3],
        flags: LO_FLAGS_AUTOCLEAR,
        names_and_key: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: both descriptors are open for the duration of the call, and the kernel reads one
    // `struct loop_config` (drivers/block/loop.c, lo_ioctl), which is what `config` is.
    unsafe { raw::loop_configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}

/// Ends what [`configure_loop`] began, as soon as nobody has the device open (`LOOP_CLR_FD`).
pub(crate) fn clear_loop(device: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call; the request has no argument.
    unsafe { raw::loop_clr_fd(device.as_raw_fd()) }?;
    Ok(())
}

/// Size of a block device in bytes (`BLKGETSIZE64`).
pub(crate) fn device_size(device: &File) -> io::Result<u64> {
    // The number says size_t, the kernel writes a u64 (block/ioctl.c, put_u64).
    let mut size: u64 = 0;
    // SAFETY: the descriptor is open for the duration of the call and the kernel writes exactly eight
    // octets to `size`, which is eight octets long and aligned on every platform.
    unsafe { raw::blkgetsize64(device.as_raw_fd(), (&raw mut size).cast()) }?;
    Ok(size)
}

/// Logical sector size of a block device in bytes (`BLKSSZGET`).
pub(crate) fn logical_sector(device: &File) -> io::Result<u32> {
    let mut size: raw::libc_int = 0;
    // SAFETY: the descriptor is open for the duration of the call and the kernel writes one int
    // (block/ioctl.c, put_int), which is what `size` is.
    unsafe { raw::blksszget(device.as_raw_fd(), &raw mut size) }?;
    u32::try_from(size)
        .map_err(|_| io::Error::other(format!("the kernel says a sector has {size} bytes")))
}

/// Whether the kernel refuses writes to a block device (`BLKROGET`).
pub(crate) fn is_read_only(device: &File) -> io::Result<bool> {
    let mut flag: raw::libc_int = 0;
    // SAFETY: the descriptor is open for the duration of the call and the kernel writes one int
    // (block/ioctl.c, put_int), which is what `flag` is.
    unsafe { raw::blkroget(device.as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

/// Tells a block device that the content of `len` bytes at `offset` is of no more use (`BLKDISCARD`).
pub(crate) fn discard(device: &File, offset: u64, len: u64) -> io::Result<()> {
    let range = [offset, len];
    // SAFETY: the descriptor is open for the duration of the call and the kernel reads two u64 from
    // `range` (block/ioctl.c, blk_ioctl_discard), which is what it holds.
    unsafe { raw::blkdiscard(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Makes the kernel read the partition table again (`BLKRRPART`).
pub(crate) fn reread_partitions(device: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call; the request has no argument.
    unsafe { raw::blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}
