//! Keys, sealing and signatures (4.5, 4.6, 5).

use std::fmt;

use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use thiserror::Error;

use super::wire::{AEAD_TAG_LEN, ClientNo, EpochId, NONCE_LEN, SIGNATURE_LEN, Tag};

/// Names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 8]);

/// What all receivers of a session know.
#[derive(Clone)]
pub struct SessionSecret(pub [u8; 32]);

/// The cipher of a session (4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// Where all clients have instructions for AES.
    Aes128Gcm,
    /// Elsewhere.
    ChaCha20Poly1305,
}

/// What the keys of a session are derived from.
#[derive(Clone)]
pub struct SessionKeys {
    id: SessionId,
    cipher: Cipher,
    secret: SessionSecret,
    control: Key,
}

/// A key of the session's cipher.
#[derive(Clone)]
pub struct Key(LessSafeKey);

/// The key of one client's feedback, as the join answer has it: as long as a key of the cipher.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey(Vec<u8>);

/// A datagram that does not open, or a signature that is wrong: forged, damaged, or of another session.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the datagram is not of this session, or damaged")]
pub struct Forged;

impl SessionId {
    /// The tag of a sender's datagrams, and of those to it (5.1).
    #[must_use]
    pub fn tag(&self, sender: u8) -> Tag {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&[sender]);
        let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
        Tag([a, b, c, d])
    }
}

impl Cipher {
    /// Bytes of its keys.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 => 32,
        }
    }

    fn key(self, bytes: &[u8]) -> Key {
        let algorithm = match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, bytes).expect("a key of the cipher's length");
        Key(LessSafeKey::new(key))
    }
}

impl SessionKeys {
    /// Those of a session.
    #[must_use]
    pub fn new(id: SessionId, secret: SessionSecret, cipher: Cipher) -> Self {
        let bytes = derive(cipher, &id.0, &secret, &[b"fos ctl v1"]);
        Self {
            id,
            cipher,
            secret,
            control: cipher.key(&bytes),
        }
    }

    /// Which session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Of BEACON and SEAL.
    #[must_use]
    pub fn control(&self) -> &Key {
        &self.control
    }

    /// Of DATA of one epoch of a sender.
    #[must_use]
    pub fn data(&self, sender: u8, epoch: EpochId, salt: &[u8; 16]) -> Key {
        let info: [&[u8]; 3] = [b"fos data v1", &[sender], &epoch.0.to_le_bytes()];
        let bytes = derive(self.cipher, salt, &self.secret, &info);
        self.cipher.key(&bytes)
    }

    /// Of NEED and STATUS of a client.
    ///
    /// # Errors
    /// If the key has not the length of the cipher's.
    pub fn feedback(&self, key: &ClientKey) -> Result<Key, Forged> {
        if key.0.len() != self.cipher.key_len() {
            return Err(Forged);
        }
        Ok(self.cipher.key(&key.0))
    }
}

impl ClientKey {
    /// As the join answer has it.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// For the join answer.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// That of client `client` of a session (4.5). `master` never leaves the server, so that no client can
    /// speak for another.
    #[must_use]
    pub fn derive(master: &[u8; 32], id: SessionId, client: ClientNo, cipher: Cipher) -> Self {
        let info: [&[u8]; 3] = [b"fos client v1", &id.0, &client.0.to_le_bytes()];
        let key = Prk::new_less_safe(HKDF_SHA256, master);
        Self(expand(&key, &info, cipher.key_len()))
    }
}

impl Key {
    /// Encrypts `bytes[from..]`, and appends the tag; `bytes[..from]` is additional data.
    ///
    /// # Panics
    /// If `bytes` is shorter than `from`.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], bytes: &mut Vec<u8>, from: usize) {
        let (head, text) = bytes.split_at_mut(from);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(head), text)
            .expect("a datagram is shorter than the cipher's limit");
        bytes.extend_from_slice(tag.as_ref());
    }

    /// Decrypts `sealed` in place, and returns what is in it.
    ///
    /// # Errors
    /// If `head` or `sealed` is not what was sealed with this key and nonce.
    pub fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        head: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], Forged> {
        if sealed.len() < AEAD_TAG_LEN {
            return Err(Forged);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = self.0.open_in_place(nonce, Aad::from(head), sealed);
        text.map(|text| &*text).map_err(|_| Forged)
    }
}

/// The nonce of DATA by its `seq`, of NEED and STATUS by their counter.
#[must_use]
pub fn counted_nonce(count: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    for (to, from) in nonce.iter_mut().skip(8).zip(count.to_le_bytes()) {
        *to = from;
    }
    nonce
}

/// Nonces of BEACON and SEAL: what looks random, from a seed that is handed in. The seed has to be random and
/// of one use: the key outlives a restart of the sender.
#[derive(Clone)]
pub struct Nonces {
    seed: [u8; 32],
    count: u64,
}

impl Nonces {
    /// Of a seed that was never used before.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    /// The next one.
    pub fn next_nonce(&mut self) -> [u8; NONCE_LEN] {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.seed, &self.count.to_le_bytes());
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        nonce
    }
}

/// Signs what senders of a session say.
pub struct SigningKey(Ed25519KeyPair);

/// The public half of [`SigningKey`], from the join answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey(pub [u8; 32]);

impl SigningKey {
    /// The pair that a seed of 32 random bytes gives.
    ///
    /// # Panics
    /// Never: any 32 bytes are a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed of 32 bytes"))
    }

    /// Its public half.
    ///
    /// # Panics
    /// Never: public keys have 32 bytes.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        use ring::signature::KeyPair;
        let bytes = self.0.public_key().as_ref().try_into();
        VerifyingKey(bytes.expect("a public key has 32 bytes"))
    }

    /// Over the body of a beacon (5.3).
    #[must_use]
    pub fn sign_beacon(&self, id: SessionId, body: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.sign(&beacon_message(id, body))
    }

    /// Over the digests of a SEAL (5.5).
    #[must_use]
    pub fn sign_seal(
        &self,
        id: SessionId,
        epoch: EpochId,
        first_seq: u32,
        digests: &[[u8; 8]],
    ) -> [u8; SIGNATURE_LEN] {
        self.sign(&seal_message(id, epoch, first_seq, digests))
    }

    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let signature = self.0.sign(message);
        signature
            .as_ref()
            .try_into()
            .expect("a signature has 64 bytes")
    }
}

impl VerifyingKey {
    /// Whether the body of a beacon is the sender's.
    ///
    /// # Errors
    /// If it is not.
    pub fn verify_beacon(
        &self,
        id: SessionId,
        body: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Forged> {
        self.verify(&beacon_message(id, body), signature)
    }

    /// Whether digests of a SEAL are the sender's.
    ///
    /// # Errors
    /// If they are not.
    pub fn verify_seal(
        &self,
        id: SessionId,
        epoch: EpochId,
        first_seq: u32,
        digests: &[[u8; 8]],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Forged> {
        self.verify(&seal_message(id, epoch, first_seq, digests), signature)
    }

    fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), Forged> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| Forged)
    }
}

fn beacon_message(id: SessionId, body: &[u8]) -> Vec<u8> {
    [&b"fos-beacon-v1"[..], &[0], &id.0, body].concat()
}

fn seal_message(id: SessionId, epoch: EpochId, first_seq: u32, digests: &[[u8; 8]]) -> Vec<u8> {
    let epoch = epoch.0.to_le_bytes();
    let first_seq = first_seq.to_le_bytes();
    let digests = digests.as_flattened();
    [
        &b"fos-seal-v1"[..],
        &[0],
        &id.0,
        &epoch,
        &first_seq,
        digests,
    ]
    .concat()
}

fn derive(cipher: Cipher, salt: &[u8], secret: &SessionSecret, info: &[&[u8]]) -> Vec<u8> {
    let key = Salt::new(HKDF_SHA256, salt).extract(&secret.0);
    expand(&key, info, cipher.key_len())
}

fn expand(key: &Prk, info: &[&[u8]], len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    key.expand(info, Len(len))
        .and_then(|okm| okm.fill(&mut bytes))
        .expect("HKDF gives up to 8160 bytes");
    bytes
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

macro_rules! hidden {
    ($($secret:ident),*) => {$(
        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($secret)).finish_non_exhaustive()
            }
        }
    )*};
}

hidden!(
    SessionSecret,
    SessionKeys,
    Key,
    ClientKey,
    SigningKey,
    Nonces
);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([1, 2, 3, 4, 5, 6, 7, 8]);

    fn keys(cipher: Cipher) -> SessionKeys {
        SessionKeys::new(ID, SessionSecret([7; 32]), cipher)
    }

    /// What a key makes of "abc" with a nonce of zeros, in hex: keys cannot be looked at.
    fn mark(key: &Key) -> String {
        let mut bytes = b"abc".to_vec();
        key.seal([0; NONCE_LEN], &mut bytes, 0);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_stay_what_they_are() {
        // 4.5: both ends derive them, perhaps in different versions.
        let mut marks = Vec::new();
        for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305] {
            let keys = keys(cipher);
            let client = ClientKey::derive(&[9; 32], ID, ClientNo(17), cipher);
            marks.push(mark(keys.control()));
            marks.push(mark(&keys.data(1, EpochId(5), &[3; 16])));
            marks.push(mark(&keys.feedback(&client).unwrap()));
        }
        assert_eq!(marks, GOLDEN);
    }

    const GOLDEN: [&str; 6] = [
        "3b4bd4c4098b0b0997a09c14ce7f887bfc6444",
        "eb3b82681431a70172b5597bffe359add69800",
        "64f5b14468fa4e6e990d47b8c7b266cc3ae015",
        "3f3e5c34fea7768a045055e61d00aedbba5f29",
        "816fb31662a56abe9eb53c453226ecb807d78d",
        "44d301737f8f5a400c7fccf4b0cd7ad75c5a5e",
    ];

    #[test]
    fn every_part_of_the_derivation_counts() {
        let keys = keys(Cipher::Aes128Gcm);
        let other = SessionKeys::new(ID, SessionSecret([8; 32]), Cipher::Aes128Gcm);
        let elsewhere =
            SessionKeys::new(SessionId([0; 8]), SessionSecret([7; 32]), Cipher::Aes128Gcm);
        let client = |master: u8, id, number| {
            let key = ClientKey::derive(&[master; 32], id, ClientNo(number), Cipher::Aes128Gcm);
            mark(&keys.feedback(&key).unwrap())
        };
        let mut marks = vec![
            mark(keys.control()),
            mark(other.control()),
            mark(elsewhere.control()),
            mark(&keys.data(0, EpochId(5), &[3; 16])),
            mark(&keys.data(1, EpochId(5), &[3; 16])),
            mark(&keys.data(0, EpochId(6), &[3; 16])),
            mark(&keys.data(0, EpochId(5), &[4; 16])),
            mark(&other.data(0, EpochId(5), &[3; 16])),
            client(1, ID, 1),
            client(1, ID, 2),
            client(2, ID, 1),
            client(1, SessionId([0; 8]), 1),
        ];
        let count = marks.len();
        marks.sort_unstable();
        marks.dedup();
        assert_eq!(marks.len(), count);
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305] {
            let key = keys(cipher).control().clone();
            let mut sealed = b"headbody".to_vec();
            key.seal(counted_nonce(5), &mut sealed, 4);
            assert_eq!(sealed.len(), 8 + AEAD_TAG_LEN);
            let open = |bytes: &[u8], count| {
                let (head, body) = bytes.split_at(4);
                let mut body = body.to_vec();
                key.open(counted_nonce(count), head, &mut body)
                    .map(<[u8]>::to_vec)
            };
            assert_eq!(open(&sealed, 5), Ok(b"body".to_vec()));
            assert_eq!(open(&sealed, 6), Err(Forged));
            for bit in 0..sealed.len() * 8 {
                let mut damaged = sealed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&damaged, 5), Err(Forged), "bit {bit}");
            }
            for len in 4..sealed.len() {
                assert_eq!(open(&sealed[..len], 5), Err(Forged));
            }
        }
    }

    #[test]
    fn a_client_key_of_another_cipher_is_refused() {
        let key = ClientKey::from_bytes(vec![0; 16]);
        assert!(keys(Cipher::ChaCha20Poly1305).feedback(&key).is_err());
        assert!(keys(Cipher::Aes128Gcm).feedback(&key).is_ok());
    }

    #[test]
    fn signatures_are_bound_to_kind_session_and_content() {
        let signing = SigningKey::from_seed(&[5; 32]);
        let verifying = signing.verifying_key();
        let beacon = signing.sign_beacon(ID, b"body");
        assert_eq!(verifying.verify_beacon(ID, b"body", &beacon), Ok(()));
        assert!(verifying.verify_beacon(ID, b"bode", &beacon).is_err());
        let other = SessionId([0; 8]);
        assert!(verifying.verify_beacon(other, b"body", &beacon).is_err());
        let stranger = SigningKey::from_seed(&[6; 32]).verifying_key();
        assert!(stranger.verify_beacon(ID, b"body", &beacon).is_err());
        let digests = [[1; 8], [2; 8]];
        let seal = signing.sign_seal(ID, EpochId(1), 128, &digests);
        let verify = |epoch, first, digests: &[[u8; 8]]| {
            verifying.verify_seal(ID, EpochId(epoch), first, digests, &seal)
        };
        assert_eq!(verify(1, 128, &digests), Ok(()));
        assert!(verify(2, 128, &digests).is_err());
        assert!(verify(1, 256, &digests).is_err());
        assert!(verify(1, 128, &digests[..1]).is_err());
    }

    #[test]
    fn nonces_are_not_used_twice() {
        let mut nonces = Nonces::new([1; 32]);
        let mut other = Nonces::new([2; 32]);
        let mut all: Vec<_> = (0..1000)
            .flat_map(|_| [nonces.next_nonce(), other.next_nonce()])
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
        assert_eq!(
            counted_nonce(0x0102_0304),
            [0, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1]
        );
    }

    #[test]
    fn senders_and_sessions_have_different_tags() {
        let tags = [ID.tag(0), ID.tag(1), SessionId([0; 8]).tag(0)];
        assert!(tags[0] != tags[1] && tags[0] != tags[2]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", SessionSecret([0xab; 32]));
        assert_eq!(shown, "SessionSecret { .. }");
    }
}
