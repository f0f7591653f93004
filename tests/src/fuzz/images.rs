//! Images: any bytes, and good images that were changed here and there.

use image::{
    BitmapMode, ChecksumMode, Compression, Content, Decoder, Geometry, ImageError, Options, Sink,
    SinkError, Summary, Verify,
};
use image_writer::{PartimageRecipe, Recipe, wrap};

use super::feed::Feed;
use super::mend;

/// Any bytes as an image: nothing is handed out beyond the target, in whatever pieces they come.
pub fn image(data: &[u8]) {
    let mut feed = Feed(data);
    let is_mended = feed.0.first().is_some_and(|flags| flags & 4 != 0);
    let options = options(&mut feed, 4096);
    let piece = usize::from(feed.byte()).max(1);
    let mut bytes = feed.rest().to_vec();
    if is_mended {
        mend::image(&mut bytes);
    }
    let (first, once) = decode(&bytes, piece, options);
    // The cut of the pieces makes no difference.
    let (second, whole) = decode(&bytes, usize::MAX, options);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.warnings, second.warnings);
            assert!(once.bytes == whole.bytes, "pieces make a difference");
        }
        // Which of several faults is met first may differ: a decompressor sees ahead.
        (Err(_), Err(_)) => {}
        (first, second) => panic!("pieces make a difference: {first:?}, {second:?}"),
    }
}

/// Any bytes as the beginning of an image: the header is the one that the decoder finds.
pub fn peek(data: &[u8]) {
    let header = image::peek(data);
    let (result, target) = decode(data, usize::MAX, Options::default());
    if let (Ok(Some(header)), Ok(summary)) = (&header, &result) {
        assert_eq!(summary.geometry.header, *header);
    }
    if let (Err(_), Ok(summary)) = (&header, &result) {
        panic!("refused by its header, but decoded: {summary:?}");
    }
    drop(target);
}

/// An image by a recipe, changed: unchanged it is restored exactly, changed nothing leaves the target.
pub fn image_recipe(data: &[u8]) {
    let mut feed = Feed(data);
    let block_len = usize::from(feed.one_of(&[1_u8, 7, 64, 200]));
    let used: Vec<bool> = feed
        .bytes(40)
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1))
        .chain([true])
        .collect();
    let size = used.len() * block_len;
    let content = |number: u64| {
        let seed = number.to_le_bytes()[0];
        (0..=u8::MAX)
            .cycle()
            .map(|n| n ^ seed)
            .take(block_len)
            .collect()
    };
    let kind = feed.byte() % 3;
    let (mut bytes, restored) = if kind == 2 {
        let recipe = PartimageRecipe {
            boot_records: u32::from(feed.byte() % 3),
            bitmap_rest: usize::from(feed.byte()),
            ..PartimageRecipe::new(block_len as u64, used)
        };
        let cuts = [usize::from(feed.u16()) + 1];
        let cuts = if feed.flag() { &cuts[..] } else { &[] };
        let restored = recipe.restored(content, size, FILL);
        (recipe.write_volumes(content, cuts).concat(), restored)
    } else {
        let recipe = Recipe {
            is_v1: kind == 1,
            checksum: feed.one_of(&[
                ChecksumMode::None,
                ChecksumMode::Crc32,
                ChecksumMode::Xxh64,
                ChecksumMode::Xxh128,
            ]),
            strip_blocks: u32::from(feed.byte()).max(1),
            is_reseeded: feed.flag(),
            bitmap: feed.one_of(&[BitmapMode::Bit, BitmapMode::Byte, BitmapMode::None]),
            has_odd_bitmap: feed.flag(),
            is_wide: feed.flag(),
            ..Recipe::v2(u32::try_from(block_len).expect("small"), used)
        };
        (recipe.write(content), recipe.restored(content, size, FILL))
    };
    let options = options(&mut feed, size);
    let piece = usize::from(feed.u16()).max(1);
    let is_changed = !feed.is_empty();
    change(&mut bytes, &mut feed);
    let (result, target) = decode(&bytes, piece, options);
    if !is_changed {
        let summary = result.unwrap_or_else(|error| panic!("a good image: {error}"));
        assert_eq!(summary.warnings, []);
        assert!(target.bytes.starts_with(&restored), "other bytes");
    }
}

/// A compressed stream, changed: unchanged it gives what was compressed, changed it ends.
pub fn wrapper(data: &[u8]) {
    let mut feed = Feed(data);
    let compression = feed.one_of(&[
        Compression::Gzip,
        Compression::Zstd,
        Compression::Xz,
        Compression::Bzip2,
        Compression::Lz4,
    ]);
    let repeats = usize::from(feed.byte()) + 1;
    let content = feed.bytes(600).repeat(repeats);
    // Images are no raw data.
    let content = [b"!", &content[..]].concat();
    let is_twice = feed.flag();
    let mut bytes = wrap(compression, &content);
    let mut expected = content;
    if is_twice {
        bytes.extend(wrap(compression, b"more"));
        expected.extend(b"more");
    }
    let piece = usize::from(feed.u16()).max(1);
    let is_changed = !feed.is_empty();
    change(&mut bytes, &mut feed);
    let options = Options {
        content: Content::Raw { len: None },
        target_size: Some(1 << 20),
        window_log_max: 20,
        ..Options::default()
    };
    let (result, target) = decode(&bytes, piece, options);
    if !is_changed {
        let summary = result.unwrap_or_else(|error| panic!("a good stream: {error}"));
        assert_eq!(summary.output_len, expected.len() as u64);
        assert!(target.bytes.starts_with(&expected), "other bytes");
    }
}

const FILL: u8 = 0xA5;

fn options(feed: &mut Feed<'_>, size: usize) -> Options {
    let flags = feed.byte();
    Options {
        verify: if flags & 1 == 0 {
            Verify::Enforce
        } else {
            Verify::Warn
        },
        target_size: Some(size as u64),
        check_size: flags & 2 == 0,
        window_log_max: 20,
        bitmap_memory_max: 1 << 20,
        ..Options::default()
    }
}

/// Flips, cuts, repeats and inserts as the feed says.
fn change(bytes: &mut Vec<u8>, feed: &mut Feed<'_>) {
    for _ in 0..16 {
        if feed.is_empty() || bytes.is_empty() {
            return;
        }
        let what = feed.byte();
        let at = usize::try_from(feed.u32()).expect("32 bits") % bytes.len();
        match what % 4 {
            0 => bytes[at] ^= feed.byte(),
            1 => bytes.truncate(at),
            2 => {
                let part = feed.bytes(32).to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let part = feed.bytes(32);
                let len = part.len().min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&part[..len]);
            }
        }
    }
}

/// A target that must not be left.
struct Target {
    bytes: Vec<u8>,
    end: u64,
    data_end: Option<u64>,
}

impl Sink for Target {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        assert_eq!(self.data_end, None, "begin is called once");
        self.data_end = Some(geometry.data_end);
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let end = offset + data.len() as u64;
        assert!(offset >= self.end && !data.is_empty(), "extents ascend");
        assert!(self.data_end.is_some_and(|data_end| end <= data_end));
        self.end = end;
        let start = usize::try_from(offset).expect("small targets");
        let place = self.bytes.get_mut(start..start + data.len());
        place
            .expect("no extent beyond the target")
            .copy_from_slice(data);
        Ok(())
    }
}

fn decode(bytes: &[u8], piece: usize, options: Options) -> (Result<Summary, ImageError>, Target) {
    let size = options.target_size.unwrap_or(1 << 20);
    let mut target = Target {
        bytes: vec![FILL; usize::try_from(size).expect("small")],
        end: 0,
        data_end: None,
    };
    let options = Options {
        target_size: Some(size),
        ..options
    };
    let mut decoder = Decoder::new(options);
    for piece in bytes.chunks(piece) {
        if let Err(error) = decoder.push(piece, &mut target) {
            return (Err(error), target);
        }
        let progress = decoder.progress();
        assert!(progress.blocks_done <= progress.blocks_total || progress.blocks_total == 0);
    }
    let result = decoder.finish(&mut target);
    (result, target)
}
