//! Writes partimage images, good ones and bad ones, for tests. Shares no code with the decoder.

/// Changes a record's mark, CRC and block.
pub type ChangeRecord = fn(&mut [u8; 4], &mut u32, &mut u64);

/// An image to be written. Start with [`PartimageRecipe::new`] and change what is wanted.
#[derive(Clone, Debug)]
pub struct PartimageRecipe {
    /// Bytes per block.
    pub block_size: u64,
    /// Which blocks are used.
    pub used: Vec<bool>,
    /// Name of the file system.
    pub filesystem: String,
    /// Format name in the volume header.
    pub version: String,
    /// First bytes of the volume header.
    pub magic: [u8; 16],
    /// Number of the (only) volume.
    pub volume: u32,
    /// Bytes of the partition; the product if `None`.
    pub partition_size: Option<u64>,
    /// Records of boot sectors.
    pub boot_records: u32,
    /// That number as the main header has it, if it is another.
    pub claimed_boot_records: Option<u32>,
    /// Encryption method.
    pub encryption: u32,
    /// Data of the extensions.
    pub extensions: [Vec<u8>; 10],
    /// Bytes behind the bitmap.
    pub bitmap_rest: usize,
    /// Header sums over unsigned bytes.
    pub has_unsigned_sums: bool,
    /// Changes the partition's header (block size, used, blocks, bitmap size) before its sum.
    pub local: Option<fn(&mut [u64; 4])>,
    /// XORed to the sums of main header, partition header and information.
    pub spoil_sums: [u32; 3],
    /// A section's magic characters and what stands in their place.
    pub spoil_magic: Option<(&'static str, &'static str)>,
    /// The first byte of this block is stored inverted.
    pub spoil_block: Option<u64>,
    /// XORed to the first byte of the bitmap.
    pub spoil_bitmap: u8,
    /// Changes the record with this index.
    pub record: Option<(u64, ChangeRecord)>,
    /// XORed to the sum in the tail.
    pub spoil_tail: u64,
    /// Volume number in the tail.
    pub tail_volume: u32,
}

impl PartimageRecipe {
    /// An image of ext2 with some bytes behind the bitmap, as the original writes it.
    #[must_use]
    pub fn new(block_size: u64, used: Vec<bool>) -> Self {
        Self {
            block_size,
            used,
            filesystem: "ext2fs".to_owned(),
            version: "0.6.1".to_owned(),
            magic: *b"PaRtImAgE-VoLuMe",
            volume: 0,
            partition_size: None,
            boot_records: 0,
            claimed_boot_records: None,
            encryption: 0,
            extensions: Default::default(),
            bitmap_rest: 16,
            has_unsigned_sums: false,
            local: None,
            spoil_sums: [0; 3],
            spoil_magic: None,
            spoil_block: None,
            spoil_bitmap: 0,
            record: None,
            spoil_tail: 0,
            tail_volume: 0,
        }
    }

    /// The image of one volume, with the bytes that `block` gives for each used block.
    pub fn write(&self, block: impl FnMut(u64) -> Vec<u8>) -> Vec<u8> {
        let mut image = self.volume_header(self.volume);
        let body = self.body(block);
        let sum: u64 = body.iter().map(|&byte| u64::from(byte)).sum();
        image.extend(body);
        let mut tail = vec![0; 16384];
        put(&mut tail, 0, &(sum ^ self.spoil_tail).to_le_bytes());
        put(&mut tail, 8, &self.tail_volume.to_le_bytes());
        image.extend(tail);
        image
    }

    /// The image in volumes that are cut after each of `lens` bytes, headers not counted.
    pub fn write_volumes(&self, block: impl FnMut(u64) -> Vec<u8>, lens: &[usize]) -> Vec<Vec<u8>> {
        let last = u32::try_from(lens.len()).expect("few volumes");
        let recipe = Self {
            tail_volume: last,
            ..self.clone()
        };
        let whole = recipe.write(block);
        let mut rest = &whole[512..];
        let mut volumes = Vec::new();
        for (number, len) in (0..=last).zip(lens.iter().copied().chain([usize::MAX])) {
            let (now, later) = rest.split_at(len.min(rest.len()));
            volumes.push([&self.volume_header(number), now].concat());
            rest = later;
        }
        volumes
    }

    /// What a restore of the image must leave in a target of `size` bytes full of `fill`.
    pub fn restored(
        &self,
        mut block: impl FnMut(u64) -> Vec<u8>,
        size: usize,
        fill: u8,
    ) -> Vec<u8> {
        let mut target = vec![fill; size];
        for (number, _) in self.used.iter().enumerate().filter(|(_, used)| **used) {
            let data = block(number as u64);
            put(&mut target, number * data.len(), &data);
        }
        target
    }

    fn volume_header(&self, number: u32) -> Vec<u8> {
        let mut header = vec![0; 512];
        put(&mut header, 0, &self.magic);
        put(&mut header, 32, self.version.as_bytes());
        put(&mut header, 96, &number.to_le_bytes());
        put(&mut header, 100, &0x1122_3344_5566_7788_u64.to_le_bytes());
        header
    }

    /// Everything that the sum in the tail covers.
    fn body(&self, mut block: impl FnMut(u64) -> Vec<u8>) -> Vec<u8> {
        let blocks = self.used.len() as u64;
        let mut main = vec![0; 16384];
        put(&mut main, 0, self.filesystem.as_bytes());
        // A byte that makes signed and unsigned sums differ.
        put(&mut main, 512, b"\xFCber");
        put(&mut main, 4608, b"/dev/sda1");
        let size = self.partition_size.unwrap_or(blocks * self.block_size);
        put(&mut main, 9592, &size.to_le_bytes());
        put(&mut main, 9728, self.version.as_bytes());
        let count = self.claimed_boot_records.unwrap_or(self.boot_records);
        put(&mut main, 9792, &count.to_le_bytes());
        put(&mut main, 9796, &2048_u32.to_le_bytes());
        put(&mut main, 9800, &self.encryption.to_le_bytes());
        let mut body = self.with_sum(main, 0);
        self.push_magic(&mut body, "MBRBACKUP");
        for number in 0..self.boot_records {
            body.extend([number.to_le_bytes()[0] | 0xA0; 2048]);
        }
        for (number, data) in self.extensions.iter().enumerate() {
            self.push_magic(&mut body, &format!("EXT00{number}"));
            body.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
            body.extend(data);
        }
        let mut bitmap = vec![0; self.used.len().div_ceil(8) + self.bitmap_rest];
        for (number, _) in self.used.iter().enumerate().filter(|(_, used)| **used) {
            bitmap[number / 8] |= 1 << (number % 8);
        }
        self.push_magic(&mut body, "LOCALHEADER");
        let used = self.used.iter().filter(|used| **used).count() as u64;
        let mut numbers = [self.block_size, used, blocks, bitmap.len() as u64];
        if let Some(change) = self.local {
            change(&mut numbers);
        }
        let mut local = vec![0; 16384];
        for (at, number) in (0..).step_by(8).zip(numbers) {
            put(&mut local, at, &number.to_le_bytes());
        }
        body.extend(self.with_sum(local, 1));
        self.push_magic(&mut body, "BITMAP");
        bitmap[0] ^= self.spoil_bitmap;
        body.extend(bitmap);
        self.push_magic(&mut body, "INFO");
        body.extend(self.with_sum(vec![0x81; 16384], 2));
        self.push_magic(&mut body, "DATABLOCKS");
        self.push_data(&mut body, &mut block);
        self.push_magic(&mut body, "TAIL");
        body
    }

    /// The blocks and their records, byte by byte.
    fn push_data(&self, body: &mut Vec<u8>, block: &mut impl FnMut(u64) -> Vec<u8>) {
        let copy_blocks = (262_144 / self.block_size.max(1)).max(1);
        let (mut covered, mut index) = (Vec::new(), 0);
        // First block of the copy at hand, and the block before.
        let (mut copy, mut before) = (0, None);
        for (number, _) in (0_u64..).zip(&self.used).filter(|(_, used)| **used) {
            if before.is_none_or(|before| before + 1 != number) || number - copy == copy_blocks {
                copy = number;
            }
            before = Some(number);
            for (at, byte) in block(number).into_iter().enumerate() {
                covered.push(byte);
                let is_spoilt = at == 0 && self.spoil_block == Some(number);
                body.push(if is_spoilt { !byte } else { byte });
                if covered.len() == 65536 {
                    let mut record = (*b"CHK\0", crc32fast::hash(&covered), copy);
                    if let Some((wanted, change)) = self.record
                        && wanted == index
                    {
                        change(&mut record.0, &mut record.1, &mut record.2);
                    }
                    body.extend(record.0);
                    body.extend(record.1.to_le_bytes());
                    body.extend(record.2.to_le_bytes());
                    covered.clear();
                    index += 1;
                }
            }
        }
    }

    fn push_magic(&self, body: &mut Vec<u8>, name: &str) {
        body.extend(b"MAGIC-BEGIN-");
        let spoilt = self.spoil_magic.filter(|(which, _)| *which == name);
        body.extend(spoilt.map_or(name, |(_, other)| other).as_bytes());
    }

    fn with_sum(&self, mut structure: Vec<u8>, which: usize) -> Vec<u8> {
        let sum = structure.iter().fold(0_u32, |sum, &byte| {
            let byte = if self.has_unsigned_sums {
                i32::from(byte)
            } else {
                i32::from(byte.cast_signed())
            };
            sum.wrapping_add_signed(byte)
        });
        structure.extend((sum ^ self.spoil_sums[which]).to_le_bytes());
        structure
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
