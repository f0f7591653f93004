//! Makes checksums right again after somebody changed what they cover: a fuzzer would not get behind
//! them else.

/// The sums over the headers and the bitmap of an image; those over its data stay.
pub(super) fn image(bytes: &mut [u8]) {
    if bytes.starts_with(b"PaRtImAgE-VoLuMe") {
        mend_structure(bytes, 512);
        for magic in [&b"MAGIC-BEGIN-LOCALHEADER"[..], b"MAGIC-BEGIN-INFO"] {
            if let Some(at) = find(bytes, magic) {
                mend_structure(bytes, at + magic.len());
            }
        }
    } else if bytes.starts_with(b"partclone-image") {
        match bytes.get(30..34) {
            Some(b"0001") => {
                let total = number(bytes, 48);
                put(bytes, 4160_u64.checked_add(total), b"BiTmAgIc");
            }
            Some(b"0002") if bytes.len() >= 110 => mend_0002(bytes),
            _ => {}
        }
    }
}

fn mend_0002(bytes: &mut [u8]) {
    let crc = !crc32fast::hash(&bytes[..106]);
    put(bytes, Some(106), &crc.to_le_bytes());
    let total = number(bytes, 60);
    match bytes[105] {
        1 => {
            let Some(end) = total.div_ceil(8).checked_add(110) else {
                return;
            };
            let end_at = usize::try_from(end).unwrap_or(usize::MAX);
            if let Some(bitmap) = bytes.get(110..end_at) {
                let crc = !crc32fast::hash(bitmap);
                put(bytes, Some(end), &crc.to_le_bytes());
            }
        }
        8 => put(bytes, total.checked_add(110), b"BiTmAgIc"),
        _ => {}
    }
}

/// Partimage's sum over 16384 signed bytes, behind them.
fn mend_structure(bytes: &mut [u8], start: usize) {
    let end = start + 16384;
    let Some(structure) = bytes.get(start..end) else {
        return;
    };
    let sum = structure.iter().fold(0_i32, |sum, byte| {
        sum.wrapping_add(byte.cast_signed().into())
    });
    put(bytes, Some(end as u64), &sum.to_le_bytes());
}

/// The sums of the GPT headers that stand at multiples of 512. `entries` is where the entries are that
/// a header at its first sector number means; behind the end of `bytes` everything is zero.
pub(super) fn gpt(bytes: &mut [u8], entries: impl Fn(u64) -> Option<u64>) {
    const ENTRIES_MAX: u64 = 1 << 20;
    for at in (0..bytes.len()).step_by(512) {
        if bytes.get(at..at + 8) != Some(b"EFI PART") || bytes.len() < at + 92 {
            continue;
        }
        let field = |offset: usize| u64::from(short(bytes, at + offset));
        let len = field(80) * field(84);
        if let Some(start) = entries(number(bytes, at + 72)).filter(|_| len <= ENTRIES_MAX) {
            let start = usize::try_from(start)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let mut copy = bytes[start..].to_vec();
            copy.resize(usize::try_from(len).unwrap_or(0), 0);
            let crc = crc32fast::hash(&copy);
            put(bytes, Some(at as u64 + 88), &crc.to_le_bytes());
        }
        let header_len = short(bytes, at + 12) as usize;
        put(bytes, Some(at as u64 + 16), &[0; 4]);
        if let Some(header) = bytes.get(at..at + header_len.clamp(92, 512)) {
            let crc = crc32fast::hash(header);
            put(bytes, Some(at as u64 + 16), &crc.to_le_bytes());
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// 64 bits at a place; zero where there are fewer.
fn number(bytes: &[u8], at: usize) -> u64 {
    let octets = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_le_bytes(octets.copied().unwrap_or_default())
}

fn short(bytes: &[u8], at: usize) -> u32 {
    let octets = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(octets.copied().unwrap_or_default())
}

/// Writes where there is room.
fn put(bytes: &mut [u8], at: Option<u64>, octets: &[u8]) {
    let room = at
        .and_then(|at| usize::try_from(at).ok())
        .and_then(|at| bytes.get_mut(at..)?.get_mut(..octets.len()));
    if let Some(room) = room {
        room.copy_from_slice(octets);
    }
}
