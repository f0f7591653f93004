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

    // `linux/nvme_ioctl.h`: _IOWR('N', 0x41, struct nvme_admin_cmd). `scsi/sg.h`: a number without direction or size.
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, super::NvmeCommand);
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, super::ScsiCommand);

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

/// `struct nvme_admin_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: [u32; 2],
    metadata: u64,
    data: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<NvmeCommand>() == 72);

/// Get Log Page of the NVM Express specification, and all namespaces.
const NVME_GET_LOG_PAGE: u8 = 2;
const NVME_ALL: u32 = u32::MAX;

/// A log page of an NVMe disk (`NVME_IOCTL_ADMIN_CMD`).
pub(crate) fn nvme_log_page(device: &File, page: u8) -> io::Result<[u8; 512]> {
    let mut data = [0_u8; 512];
    let mut command = NvmeCommand {
        opcode: NVME_GET_LOG_PAGE,
        namespace: NVME_ALL,
        data: (&raw mut data).expose_provenance() as u64,
        data_len: 512,
        // The page, and how many double words less one.
        cdw10: [u32::from(page) | (512 / 4 - 1) << 16, 0, 0, 0, 0, 0],
        timeout_ms: HEALTH_PATIENCE_MS,
        ..NvmeCommand::default()
    };
    // SAFETY: the descriptor is open for the duration of the call; `command` is what the kernel reads and writes
    // (drivers/nvme/host/ioctl.c, nvme_user_cmd), and `data`, which it writes at most `data_len` bytes to, lives
    // on behind the call.
    let status = unsafe { raw::nvme_admin(device.as_raw_fd(), &raw mut command) }?;
    match status {
        0 => Ok(data),
        status => Err(io::Error::other(format!("NVMe status {status:#x}"))),
    }
}

/// `struct sg_io_hdr` of `scsi/sg.h`.
#[repr(C)]
struct ScsiCommand {
    interface: raw::libc_int,
    direction: raw::libc_int,
    command_len: u8,
    sense_max: u8,
    pieces: u16,
    data_len: u32,
    data: *mut u8,
    command: *mut u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    number: raw::libc_int,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_len: u8,
    host_status: u16,
    driver_status: u16,
    residue: raw::libc_int,
    duration: u32,
    info: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<ScsiCommand>() == 88);

const SG_DXFER_NONE: raw::libc_int = -1;
const SG_DXFER_FROM_DEV: raw::libc_int = -3;

/// A SMART command of a SATA disk, as ATA PASS-THROUGH (16) of SAT-4 (`SG_IO`): `feature` is its number, `data` takes
/// the sector that it gives, if it gives one. Answers the sense data.
pub(crate) fn ata_smart(
    device: &File,
    feature: u8,
    data: Option<&mut [u8; 512]>,
) -> io::Result<Vec<u8>> {
    // Protocol (PIO in, or no data) and, where there is none, that the registers come back in the sense data.
    let (protocol, flags, count) = match data {
        Some(_) => (4 << 1, 0x0e, 1),
        None => (3 << 1, 0x20, 0),
    };
    let mut command = [
        0x85, protocol, flags, 0, feature, 0, count, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0,
    ];
    let answer = scsi(device, &mut command, data.map(<[u8; 512]>::as_mut_slice))?;
    Ok(answer.sense)
}

/// A log page of a SCSI disk: LOG SENSE of SPC-5, cumulative values.
pub(crate) fn scsi_log_page(device: &File, page: u8) -> io::Result<Vec<u8>> {
    let mut data = vec![0_u8; LOG_PAGE_MAX];
    let [high, low] = u16::try_from(LOG_PAGE_MAX)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut command = [0x4d, 0, 0x40 | (page & 0x3f), 0, 0, 0, 0, high, low, 0];
    let answer = scsi(device, &mut command, Some(&mut data))?;
    if answer.status != 0 {
        let status = answer.status;
        return Err(io::Error::other(format!(
            "the disk does not answer that (SCSI status {status:#x})"
        )));
    }
    data.truncate(answer.len);
    Ok(data)
}

/// Of all pages that are asked for, which have less than ten parameters.
const LOG_PAGE_MAX: usize = 512;

/// What a SCSI command came to.
struct ScsiAnswer {
    /// 0: good.
    status: u8,
    /// Bytes that were put into the data.
    len: usize,
    sense: Vec<u8>,
}

/// A SCSI command (`SG_IO`) that changes nothing, and answers at most as many bytes as `data` has.
fn scsi(device: &File, command: &mut [u8], data: Option<&mut [u8]>) -> io::Result<ScsiAnswer> {
    let mut sense = [0_u8; 64];
    let (direction, data_len, data) = match data {
        Some(data) => (SG_DXFER_FROM_DEV, data.len(), data.as_mut_ptr()),
        None => (SG_DXFER_NONE, 0, std::ptr::null_mut()),
    };
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut header = ScsiCommand {
        interface: raw::libc_int::from(b'S'),
        direction,
        command_len: u8::try_from(command.len()).map_err(too_long)?,
        sense_max: 64,
        pieces: 0,
        data_len: u32::try_from(data_len).map_err(too_long)?,
        data,
        command: command.as_mut_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: HEALTH_PATIENCE_MS,
        flags: 0,
        number: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_len: 0,
        host_status: 0,
        driver_status: 0,
        residue: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the descriptor is open for the duration of the call; `header` is what the kernel reads and writes
    // (drivers/scsi/scsi_ioctl.c, sg_io), and its pointers are to arrays of the lengths beside them, which live on
    // behind the call.
    unsafe { raw::sg_io(device.as_raw_fd(), &raw mut header) }?;
    if header.host_status != 0 {
        let status = header.host_status;
        return Err(io::Error::other(format!("SCSI host status {status:#x}")));
    }
    let sense_len = usize::from(header.sense_len).min(sense.len());
    let residue = usize::try_from(header.residue).unwrap_or(0);
    Ok(ScsiAnswer {
        status: header.status,
        len: data_len.saturating_sub(residue),
        sense: sense.get(..sense_len).unwrap_or_default().to_vec(),
    })
}

/// A disk that sleeps is waited for.
const HEALTH_PATIENCE_MS: u32 = 10_000;
