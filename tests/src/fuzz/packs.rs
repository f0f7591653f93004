//! Manifests of packs, keys and signatures.

use pack::{CHUNK_RAW, FRAME_MAX, Manifest, SecretKey, Signature, Succession, TrustedKey};

/// Any bytes as a manifest: what is taken keeps all promises of its format.
pub fn pack_manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else {
        return;
    };
    let mut frame_at = 0;
    let mut seen = 0;
    for (number, stream) in manifest.head().streams.iter().enumerate() {
        let range = manifest.chunks_of(number);
        assert_eq!(
            range.start, seen,
            "chunks are those of one stream after the other"
        );
        seen = range.end;
        let (mut end, mut used) = (0, 0);
        for chunk in &manifest.chunks()[range] {
            assert_eq!(usize::from(chunk.stream), number);
            assert_eq!(chunk.frame_at, frame_at);
            assert!((1..=FRAME_MAX).contains(&chunk.frame_len));
            assert!((1..=CHUNK_RAW).contains(&chunk.raw_len));
            assert!((1..=pack::K_MAX).contains(&chunk.symbols()));
            frame_at += u64::from(chunk.frame_len);
            let mut len = 0;
            for extent in manifest.extents(chunk) {
                assert!(extent.len > 0 && extent.offset >= end);
                end = extent.end();
                len += extent.len;
            }
            assert_eq!(len, u64::from(chunk.raw_len));
            used += len;
        }
        assert!(end <= stream.device_size);
        assert_eq!(used, stream.used);
        if let Ok(geometry) = manifest.geometry(number) {
            assert_eq!(geometry.data_end, end);
            assert!(geometry.used_len() >= used);
        }
    }
    assert_eq!(seen, manifest.chunks().len());
    assert_eq!(frame_at, manifest.frames_len());
    for file in &manifest.head().files {
        assert_eq!(manifest.files()[&file.name].len() as u64, file.len);
    }
    drop(manifest.head().to_manifest());
}

/// Any bytes as keys, signatures and successions: what is read is written the same.
pub fn pack_keys(data: &[u8]) {
    if let Some(signature) = Signature::parse(data) {
        assert_eq!(signature.to_bytes(), data);
    }
    if let Some(records) = Succession::parse_all(data) {
        let bytes: Vec<u8> = records.iter().flat_map(Succession::to_bytes).collect();
        assert_eq!(bytes, data);
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = text.parse::<TrustedKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(key) = SecretKey::from_pem(text) {
        let again = SecretKey::from_pem(&key.to_pem()).ok();
        assert_eq!(again.map(|key| *key.public()), Some(*key.public()));
    }
}
