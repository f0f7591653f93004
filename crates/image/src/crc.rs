//! partclone's CRC.

/// partclone's CRC-32: zlib's without the final inversion (catalogued as CRC-32/JAMCRC).
#[derive(Clone)]
pub(crate) struct Crc(crc32fast::Hasher);

impl Crc {
    pub(crate) fn new() -> Self {
        Self(crc32fast::Hasher::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn value(&self) -> u32 {
        !self.0.clone().finalize()
    }
}

/// partclone's CRC-32 of `bytes`.
pub(crate) fn jam_crc(bytes: &[u8]) -> u32 {
    !crc32fast::hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_has_the_known_values() {
        assert_eq!(jam_crc(b""), 0xFFFF_FFFF);
        assert_eq!(jam_crc(b"123456789"), 0x340B_C6D9);
        assert_eq!(jam_crc(&[0; 512]), 0x4D55_8A87);
        let mut crc = Crc::new();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.value(), 0x340B_C6D9);
    }
}
