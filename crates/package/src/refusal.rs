//! Why a package was refused.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::{Digest, Hex};
use crate::head::HeadError;
use crate::index::IndexError;
use crate::key::{KeyError, KeyId};
use crate::openbmc::manifest::{ManifestError, PURPOSE};
use crate::openbmc::{HeaderError, Member};
use crate::signature::{Kind, Scheme};

/// Why a package was refused. Each variant leads to one result of docs/spec/results.md, in the order of these,
/// with what a person needs to find the fault. Texts never hold bytes that the format does not allow, so they
/// are safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 16 `bad-archive`: a tar header, padding or the end is not as docs/spec/package.md says.
    #[error("{part} at offset {offset} is not as a package has it")]
    BadArchive {
        /// What stands there.
        part: ArchivePart,
        /// Where in the archive, in bytes: of a header its first, of zeros the first that is not.
        offset: u64,
    },
    /// 17 `bad-head`: not a package, or of a format this reader does not know.
    #[error("{0}")]
    BadHead(HeadError),
    /// 18 `bad-index`: the index does not match the head, or breaks its own rules.
    #[error("the index is not valid: {0}")]
    BadIndex(IndexError),
    /// 19 `bad-signature`: a signature does not verify.
    #[error("the {kind} signature does not verify")]
    BadSignature {
        /// Kind of the signature.
        kind: Kind,
    },
    /// 19 `bad-signature` as well: one in a firmware tar without a head.
    #[error("{signature} does not verify")]
    BadMemberSignature {
        /// The signature.
        signature: Member,
    },
    /// 20 `unknown-key`: the signature table does not fit what this BMC accepts.
    #[error("{0}")]
    UnknownKey(KeyFault),
    /// 21 `wrong-machine`: made for another board.
    #[error("made for {found}, this is {expected}")]
    WrongMachine {
        /// This machine.
        expected: String,
        /// The machine in the head.
        found: String,
    },
    /// 22 `old-security-version`: below the BMC's floor.
    #[error("security version {found} is below {floor}, the lowest allowed here")]
    OldSecurityVersion {
        /// Lowest security version accepted.
        floor: u32,
        /// The package's.
        found: u32,
    },
    /// 23 `bad-chunk`: bytes that do not match their signed hash.
    #[error("the chunk at offset {offset} of {member} does not match its hash")]
    BadChunk {
        /// Name of the member.
        member: String,
        /// Offset of the chunk in the member, in bytes.
        offset: u64,
    },
    /// 24 `too-large`: larger than the BMC, its slot or a region can take. The reader itself compares the
    /// package's total; a sink refuses members with it.
    #[error("{} of {length} bytes is too large: {limit} is the most here", Subject(member.as_deref()))]
    TooLarge {
        /// The member; `None` for the whole package.
        member: Option<String>,
        /// Its length in bytes.
        length: u64,
        /// The most that fits, in bytes.
        limit: u64,
    },
    /// 25 `unmapped-member`: an image without a region. Only a sink knows regions; the reader never makes
    /// this one.
    #[error("there is no region for {member} here")]
    UnmappedMember {
        /// Name of the member.
        member: String,
    },
    /// 25 `unmapped-member` as well: a target of which this BMC has no region at all.
    #[error("there is no region for anything of the target {target} here")]
    UnmappedTarget {
        /// Name of the target.
        target: String,
    },
    /// 26 `truncated`: ended before its announced length.
    #[error("ended after {received} bytes{}", OfTotal(*total))]
    Truncated {
        /// Bytes received.
        received: u64,
        /// Bytes that the verified head announced; `None` if it did not get that far.
        total: Option<u64>,
    },
    /// 27 `trailing-bytes`: something else than one valid DFU suffix behind the end.
    #[error("there are bytes behind the end of the package at offset {offset}")]
    TrailingBytes {
        /// Where the archive ends, in bytes.
        offset: u64,
    },
    /// 28 `missing-member`: a region without an image. Only a sink knows regions; the reader never makes this one.
    #[error("there is no {member} in the package, which every package for this BMC has")]
    MissingMember {
        /// Name of the member.
        member: String,
    },
    /// 29 `same-version`: this version runs already, and the BMC's policy is not to take it again.
    #[error("version {version} runs already")]
    SameVersion {
        /// The version.
        version: String,
    },
    /// 30 `downgrade`: older than what runs, and the BMC's policy is not to go back.
    #[error("{} is older than what runs, {}", Order(*found), Order(*running))]
    Downgrade {
        /// Security version and bcdDevice of what runs.
        running: (u32, u16),
        /// Those of the package.
        found: (u32, u16),
    },
    /// 31 `incompatible`: it carries none of this BMC's compatible names.
    #[error("it has none of the compatible names that this BMC asks for: {}", .expected.join(", "))]
    Incompatible {
        /// The names, of which one would do.
        expected: Vec<String>,
    },
    /// 40 `refused-member`: an image that this BMC's layout does not let in. Only a sink knows regions; the reader
    /// never makes this one.
    #[error("{member} is not to be updated here")]
    RefusedMember {
        /// Name of the member.
        member: String,
    },
    /// 41 `unindexed`: a firmware tar without a head, where none is accepted.
    #[error("an OpenBMC firmware tar without an Inband head, {0}")]
    Unindexed(Unindexed),
    /// 42 `bad-manifest`: the MANIFEST of such a tar does not follow its format.
    #[error("MANIFEST is not valid: {0}")]
    BadManifest(ManifestError),
    /// 43 `wrong-purpose`: such a tar is not for the BMC.
    #[error("made for the purpose {found}, not for {PURPOSE}")]
    WrongPurpose {
        /// The purpose in the MANIFEST.
        found: String,
    },
    /// 44 `bad-encoding`: an image of such a tar is not encoded as its region says.
    #[error(
        "{member} is not one Zstandard frame of the form that is accepted, at offset {offset} of what it holds"
    )]
    BadEncoding {
        /// Name of the member.
        member: String,
        /// Bytes that were decoded before, in whole pieces.
        offset: u64,
    },
    /// 45 `unexpected-package`: another one than was announced before it came.
    #[error("not the package that was announced: {0}")]
    Unexpected(Surprise),
}

impl From<Surprise> for Refusal {
    fn from(surprise: Surprise) -> Self {
        Self::Unexpected(surprise)
    }
}

impl From<HeadError> for Refusal {
    fn from(fault: HeadError) -> Self {
        Self::BadHead(fault)
    }
}

impl From<IndexError> for Refusal {
    fn from(fault: IndexError) -> Self {
        Self::BadIndex(fault)
    }
}

/// A part of an archive that carries no signed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePart {
    /// The tar header that must stand before this member.
    Header(String),
    /// The zeros behind this member.
    Padding(String),
    /// The zeros at the end.
    End,
    /// A tar header in a firmware tar without a head.
    OpenBmcHeader(HeaderError),
}

impl fmt::Display for ArchivePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(member) => write!(f, "the tar header of {member}"),
            Self::Padding(member) => write!(f, "the padding of {member}"),
            Self::End => f.write_str("the end of the archive"),
            Self::OpenBmcHeader(fault) => fault.fmt(f),
        }
    }
}

/// Why a signature table is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// A signature of a kind that this BMC does not ask for.
    #[error("{0} signatures are not accepted here")]
    NotRequired(Kind),
    /// A required kind that the package does not have.
    #[error("a required {0} signature is missing")]
    Missing(Kind),
    /// A signature by a key that is none of this BMC's.
    #[error("the {kind} key {} is not known here", Hex(id))]
    NotKnown {
        /// Kind of the signature.
        kind: Kind,
        /// The key that the package names.
        id: KeyId,
    },
    /// A signature by a key that was good once.
    #[error("the {kind} key {} is revoked here", Hex(id))]
    Revoked {
        /// Kind of the signature.
        kind: Kind,
        /// The key that the package names.
        id: KeyId,
    },
    /// A signature of another scheme than the key is for.
    #[error("the key {} is not for {scheme} signatures here", Hex(id))]
    Scheme {
        /// Scheme of the signature.
        scheme: Scheme,
        /// The key that the package names.
        id: KeyId,
    },
    /// A signature that a firmware tar without a head must have.
    #[error("{0} is missing")]
    Unsigned(Member),
    /// The public key in such a tar.
    #[error("the tar's own public key: {0}")]
    Unusable(KeyError),
}

/// Why a firmware tar without a head is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unindexed {
    /// This BMC takes none.
    #[error("and none is taken here")]
    Never,
    /// This BMC takes none any more: its firmware has a security version, and such a tar has none.
    #[error("and none is taken here any more, now that the security version is {0}")]
    SecurityVersion(u32),
}

/// In what a package is not the one that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Surprise {
    /// Its head is another.
    #[error("its head is {}, and {} was to come", Hex(found), Hex(expected))]
    Head {
        /// SHA-256 of the head that was announced.
        expected: Digest,
        /// That of the package's.
        found: Digest,
    },
    /// Its length is another.
    #[error("it has {found} bytes, and {expected} were to come")]
    Length {
        /// The length that was announced.
        expected: u64,
        /// The one in the head.
        found: u64,
    },
    /// It is a firmware tar that has no head, which could say what it is.
    #[error("it is a firmware tar without a head")]
    NoHead,
}

/// A member by its name, or the package.
struct Subject<'a>(Option<&'a str>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("a package"))
    }
}

/// What versions are ordered by, as people write it.
struct Order((u32, u16));

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (security_version, bcd_device) = self.0;
        let (major, minor) = (bcd_device >> 8, bcd_device & 0xff);
        write!(f, "security version {security_version} with bcdDevice {major:x}.{minor:02x}")
    }
}

/// "of N", if N is known.
struct OfTotal(Option<u64>);

impl fmt::Display for OfTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(total) => write!(f, " of {total}"),
            None => f.write_str(", before its length was known"),
        }
    }
}
