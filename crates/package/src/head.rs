//! The head: 512 signed bytes that say what follows them (docs/spec/package.md, 3).

use alloc::string::String;
use alloc::vec::Vec;

use crate::digest::{Digest, sha256};
use crate::key::KeyId;
use crate::signature::{Kind, Scheme};
use crate::tar;
use crate::wire::{FieldError, Fields, put_str};

/// Name of the tar member that holds the head.
pub const MEMBER_NAME: &str = "inband.head";

/// Length of the head in bytes.
pub const LENGTH: usize = 512;

/// A head as it stands in the package: what the signatures sign.
pub type SignedHead = [u8; LENGTH];

/// Version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u16 = 1;

/// Most bytes of an archive, end blocks included: 1 GiB.
pub const MAX_TOTAL_LENGTH: u64 = 1 << 30;

/// Most bytes of an index.
pub const MAX_INDEX_LENGTH: u32 = 512 * 1024;

/// Most signatures of a package.
pub const MAX_SIGNATURES: usize = 4;

/// Most bytes of a machine's name.
pub const MAX_MACHINE: usize = 48;

const MAGIC: &[u8; 8] = b"INBANDFW";
/// Bytes of a signature table entry.
const ENTRY_LENGTH: usize = 40;
/// Offset of the signature table.
const TABLE: usize = 72;
/// Offset of the machine's field: a length byte and [`MAX_MACHINE`] bytes.
const MACHINE: usize = TABLE + MAX_SIGNATURES * ENTRY_LENGTH;

/// What the head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the index in bytes.
    pub index_length: u32,
    /// Length of the whole archive in bytes, end blocks included, a DFU suffix not.
    pub total_length: u64,
    /// Modification time in every tar header: seconds since 1970.
    pub mtime: u64,
    /// SHA-256 of the index.
    pub index_digest: Digest,
    /// One entry for each signature that follows, in order.
    pub signatures: Vec<SignatureEntry>,
    /// The board this package is for.
    pub machine: String,
}

/// One entry of the signature table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureEntry {
    /// How the signature is made.
    pub scheme: Scheme,
    /// Its length in bytes.
    pub length: u16,
    /// The key that made it.
    pub key_id: KeyId,
}

/// How a head breaks the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The first member is not `inband.head`, or what it holds does not begin with the magic.
    #[error("this is not an Inband package")]
    NotAPackage,
    /// A version of the format that this reader does not know.
    #[error("format version {0}; known is {FORMAT_VERSION}")]
    Version(u16),
    /// A flag or a reserved byte is not zero.
    #[error("a reserved bit is set")]
    Reserved,
    /// The length of the index is out of bounds.
    #[error("an index of {0} bytes; 1 to {MAX_INDEX_LENGTH} are allowed")]
    IndexLength(u32),
    /// The total length is no multiple of 512, or out of bounds.
    #[error("a total length of {0} bytes; allowed are multiples of 512 up to {MAX_TOTAL_LENGTH}")]
    TotalLength(u64),
    /// The modification time does not fit a tar header.
    #[error("a modification time of {0} seconds")]
    Mtime(u64),
    /// The number of signatures is out of bounds.
    #[error("{0} signatures; 1 to {MAX_SIGNATURES} are allowed")]
    SignatureCount(usize),
    /// A kind of signature that the format does not have.
    #[error("signature kind {0}")]
    SignatureKind(u8),
    /// A scheme that this kind of signature does not have.
    #[error("scheme {number} of {kind} signatures")]
    SignatureScheme {
        /// Kind of the signature.
        kind: Kind,
        /// Number of the scheme.
        number: u8,
    },
    /// Two signatures of one kind.
    #[error("two signatures of kind {0}")]
    SignatureTwice(Kind),
    /// A signature's length does not suit its kind.
    #[error("a {kind} signature of {length} bytes")]
    SignatureLength {
        /// Kind of the signature.
        kind: Kind,
        /// Its length in bytes.
        length: u16,
    },
    /// The machine's name breaks the rules of a *str* or its padding is not zero.
    #[error("the machine's name {0}")]
    Machine(FieldError),
}

impl Head {
    /// Reads a head and checks all its rules.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of the fields.
    pub fn parse(bytes: &SignedHead) -> Result<Self, HeadError> {
        if bytes[..8] != *MAGIC {
            return Err(HeadError::NotAPackage);
        }
        let version = u16::from_le_bytes(field(bytes, 8));
        if version != FORMAT_VERSION {
            return Err(HeadError::Version(version));
        }
        reserved(&bytes[10..12])?;
        let index_length = u32::from_le_bytes(field(bytes, 12));
        if !(1..=MAX_INDEX_LENGTH).contains(&index_length) {
            return Err(HeadError::IndexLength(index_length));
        }
        let total_length = u64::from_le_bytes(field(bytes, 16));
        if !total_length.is_multiple_of(tar::BLOCK_LENGTH) || total_length > MAX_TOTAL_LENGTH {
            return Err(HeadError::TotalLength(total_length));
        }
        let mtime = u64::from_le_bytes(field(bytes, 24));
        if mtime > tar::MAX_NUMBER {
            return Err(HeadError::Mtime(mtime));
        }
        let index_digest = field(bytes, 32);
        let count = usize::from(bytes[64]);
        if !(1..=MAX_SIGNATURES).contains(&count) {
            return Err(HeadError::SignatureCount(count));
        }
        reserved(&bytes[65..TABLE])?;
        let (table, unused) = bytes[TABLE..MACHINE].split_at(count * ENTRY_LENGTH);
        let mut signatures: Vec<SignatureEntry> = Vec::with_capacity(count);
        for entry in table.as_chunks().0 {
            let entry = SignatureEntry::parse(entry)?;
            if signatures.iter().any(|earlier| earlier.kind() == entry.kind()) {
                return Err(HeadError::SignatureTwice(entry.kind()));
            }
            signatures.push(entry);
        }
        reserved(unused)?;
        let mut rest = Fields(&bytes[MACHINE..MACHINE + 1 + MAX_MACHINE]);
        let machine = rest.str(1..=MAX_MACHINE).map_err(HeadError::Machine)?;
        reserved(rest.0)?;
        reserved(&bytes[MACHINE + 1 + MAX_MACHINE..])?;
        Ok(Self { index_length, total_length, mtime, index_digest, signatures, machine })
    }

    /// Writes the head.
    ///
    /// # Errors
    /// The first rule that the values break.
    pub fn encode(&self) -> Result<SignedHead, HeadError> {
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(HeadError::SignatureCount(self.signatures.len()));
        }
        if self.machine.len() > MAX_MACHINE {
            return Err(HeadError::Machine(FieldError::Length));
        }
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.index_length.to_le_bytes());
        out.extend_from_slice(&self.total_length.to_le_bytes());
        out.extend_from_slice(&self.mtime.to_le_bytes());
        out.extend_from_slice(&self.index_digest);
        out.push(self.signatures.len() as u8);
        out.extend_from_slice(&[0; 7]);
        for entry in &self.signatures {
            out.extend_from_slice(&[entry.kind().number(), entry.scheme.number()]);
            out.extend_from_slice(&entry.length.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&entry.key_id);
        }
        out.resize(MACHINE, 0);
        put_str(&mut out, &self.machine).ok_or(HeadError::Machine(FieldError::Length))?;
        let mut bytes = [0; LENGTH];
        bytes[..out.len()].copy_from_slice(&out);
        // The rules are written down once, in the reader.
        Self::parse(&bytes)?;
        Ok(bytes)
    }
}

impl SignatureEntry {
    /// Kind of the signature.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.scheme.kind()
    }

    fn parse(bytes: &[u8; ENTRY_LENGTH]) -> Result<Self, HeadError> {
        let kind = Kind::from_number(bytes[0]).ok_or(HeadError::SignatureKind(bytes[0]))?;
        let scheme = Scheme::from_number(kind, bytes[1])
            .ok_or(HeadError::SignatureScheme { kind, number: bytes[1] })?;
        let length = u16::from_le_bytes(field(bytes, 2));
        if !kind.allows_length(length) {
            return Err(HeadError::SignatureLength { kind, length });
        }
        reserved(&bytes[4..8])?;
        Ok(Self { scheme, length, key_id: field(bytes, 8) })
    }
}

/// The `N` bytes at `at`, an offset of the format.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn reserved(bytes: &[u8]) -> Result<(), HeadError> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(HeadError::Reserved) }
}

/// SHA-256 of a head: the short name by which logs and records speak of a package.
#[must_use]
pub fn digest(bytes: &SignedHead) -> Digest {
    sha256(bytes)
}
