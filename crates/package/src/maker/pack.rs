//! Packing: the members are read twice, first to hash, then to copy, so that none is held in memory.

use std::boxed::Box;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::string::{String, ToString};
use std::vec::Vec;

use fastcdc::v2020::{Normalization, StreamCDC};

use super::MakeError;
use super::compress::Compressor;
use crate::digest::sha256;
use crate::head::{self, Head, HeadError, SignatureEntry, SignedHead};
use crate::index::{self, Chunk, Encoding, Index, MAX_CHUNK_LENGTH, Member, MemberKind, Sent};
use crate::refusal::{ArchivePart, Refusal};
use crate::tar;

/// Shortest chunk that is cut, in bytes, but for a member's last. Like the next two numbers part of how
/// packages share chunks: another value makes every chunk of a new package differ from the old one's.
const MIN_CHUNK_LENGTH: usize = 16 * 1024;
/// FastCDC's mean length of chunks, in bytes.
const MEAN_CHUNK_LENGTH: usize = 32 * 1024;
/// FastCDC's normalisation.
const NORMALIZATION: Normalization = Normalization::Level1;

/// What a package is, apart from its members.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The board.
    pub machine: String,
    /// Names of compatible machines.
    pub compatible: Vec<String>,
    /// The firmware's version, for people.
    pub version: String,
    /// Compared with the BMC's security floor.
    pub security_version: u32,
    /// What USB shows as bcdDevice once this firmware is staged: four BCD digits.
    pub bcd_device: u16,
    /// Names of the things to be updated; inputs refer to them by number.
    pub targets: Vec<String>,
    /// Modification time of every member, in seconds since 1970; 0 makes reproducible packages.
    pub mtime: u64,
    /// Compress the chunks of images with Zstandard at this level, where that saves a tenth; `None` leaves all
    /// as they are. Only Inband can read a package with compressed chunks.
    pub compression: Option<i32>,
    /// Who will sign, in order; [`PublicKey::signature_entry`](crate::PublicKey::signature_entry) makes an
    /// entry.
    pub signers: Vec<SignatureEntry>,
}

/// A member to be packed.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name in the archive.
    pub name: String,
    /// What it is.
    pub kind: MemberKind,
    /// Number of its target.
    pub target: u8,
    /// Where its bytes are.
    pub source: Source,
}

/// Where a member's bytes are. They are read twice and must be the same both times.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Bytes(Vec<u8>),
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The head.
    pub head: Head,
    /// The head's bytes.
    pub head_bytes: SignedHead,
    /// The index.
    pub index: Index,
}

/// Packs `inputs`, in their order, and writes the package with zeros for signatures.
///
/// # Errors
/// Any [`MakeError`] but those of signing. `output` then holds no package, or a part of one.
pub fn pack(options: &PackOptions, inputs: &[Input], output: &mut impl Write) -> Result<Packed, MakeError> {
    let members = inputs.iter().map(|input| input.measure(options.compression)).collect::<Result<_, _>>()?;
    let index = Index {
        machine: options.machine.clone(),
        compatible: options.compatible.clone(),
        version: options.version.clone(),
        security_version: options.security_version,
        bcd_device: options.bcd_device,
        targets: options.targets.clone(),
        members,
    };
    let index_bytes = index.encode().map_err(MakeError::Index)?;
    // The index has at most 512 KiB, or it would not have been written.
    let index_length = index_bytes.len() as u32;
    let signatures = options.signers.iter().map(|entry| entry.length);
    let total_length = index
        .archive_length(signatures, index_length)
        .ok_or(MakeError::Head(HeadError::TotalLength(u64::MAX)))?;
    let head = Head {
        index_length,
        total_length,
        mtime: options.mtime,
        index_digest: sha256(&index_bytes),
        signatures: options.signers.clone(),
        machine: options.machine.clone(),
    };
    let head_bytes = head.encode().map_err(MakeError::Head)?;

    let mut archive = Archive { output, mtime: options.mtime };
    archive.member(head::MEMBER_NAME, &head_bytes)?;
    for entry in &head.signatures {
        archive.member(entry.kind().member_name(), &std::vec![0; entry.length.into()])?;
    }
    archive.member(index::MEMBER_NAME, &index_bytes)?;
    for (input, member) in inputs.iter().zip(&index.members) {
        archive.header(&member.archive_name(), member.sent_length())?;
        input.copy(member, options.compression, archive.output)?;
        archive.zeros(tar::padding(member.sent_length()))?;
    }
    archive.zeros(tar::END_LENGTH)?;
    archive.output.flush().map_err(MakeError::Package)?;
    Ok(Packed { head, head_bytes, index })
}

impl Source {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(bytes) => Box::new(bytes.as_slice()),
        })
    }
}

impl Input {
    fn read_error(&self, source: io::Error) -> MakeError {
        let name = match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Bytes(_) => self.name.clone(),
        };
        MakeError::Input { name, source }
    }

    /// First pass: cuts and hashes.
    fn measure(&self, compression: Option<i32>) -> Result<Member, MakeError> {
        let source = self.source.open().map_err(|error| self.read_error(error))?;
        // What other programs read stays as it is.
        let compression = compression.filter(|_| self.kind == MemberKind::Image);
        let mut compressor = Compressor::new(compression)?;
        let mut chunks = Vec::new();
        let mut length: u64 = 0;
        let mut cutter = StreamCDC::with_level(
            source,
            MIN_CHUNK_LENGTH,
            MEAN_CHUNK_LENGTH,
            MAX_CHUNK_LENGTH as usize,
            NORMALIZATION,
        );
        loop {
            let pieces =
                cutter.by_ref().take(compressor.portion()).map(|piece| piece.map(|piece| piece.data));
            let portion = pieces.collect::<Result<Vec<_>, _>>();
            let portion = portion.map_err(|error| self.read_error(error.into()))?;
            if portion.is_empty() {
                break;
            }
            for (piece, sent) in portion.iter().zip(compressor.compress(&portion)?) {
                // No piece is longer than the maximum, which is a u32.
                let piece_length = piece.len() as u32;
                length = length.saturating_add(piece_length.into());
                chunks.push(Chunk {
                    encoding: match sent {
                        Some(sent) => {
                            Encoding::Zstd(Sent { length: sent.len() as u32, digest: sha256(&sent) })
                        }
                        None => Encoding::Plain,
                    },
                    length: piece_length,
                    digest: sha256(piece),
                });
            }
        }
        Ok(Member { name: self.name.clone(), kind: self.kind, target: self.target, length, chunks })
    }

    /// Second pass: copies what the first has seen.
    fn copy(
        &self,
        member: &Member,
        compression: Option<i32>,
        output: &mut impl Write,
    ) -> Result<(), MakeError> {
        let mut compressor = Compressor::new(compression)?;
        let changed = || MakeError::Changed { name: self.name.clone() };
        let mut source = self.source.open().map_err(|error| self.read_error(error))?;
        for portion in member.chunks.chunks(compressor.portion()) {
            let read = |chunk: &Chunk| {
                let mut bytes = Vec::with_capacity(chunk.length as usize);
                let mut part = source.by_ref().take(chunk.length.into());
                part.read_to_end(&mut bytes).map_err(|error| self.read_error(error))?;
                let same = sha256(&bytes) == chunk.digest;
                same.then_some((chunk.encoding != Encoding::Plain, bytes)).ok_or_else(changed)
            };
            let pieces = portion.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let frames = compressor.repeat(&pieces)?;
            for ((chunk, (_, bytes)), frame) in portion.iter().zip(&pieces).zip(frames) {
                match chunk.encoding {
                    Encoding::Plain => output.write_all(bytes),
                    Encoding::Zstd(sent) => {
                        let frame = frame.filter(|frame| sha256(frame) == sent.digest);
                        output.write_all(&frame.ok_or_else(changed)?)
                    }
                }
                .map_err(MakeError::Package)?;
            }
        }
        let more = io::copy(&mut source.take(1), &mut io::sink()).map_err(|error| self.read_error(error))?;
        if more == 0 { Ok(()) } else { Err(changed()) }
    }
}

/// Writes tar members.
struct Archive<'a, W> {
    output: &'a mut W,
    mtime: u64,
}

impl<W: Write> Archive<'_, W> {
    fn header(&mut self, name: &str, length: u64) -> Result<(), MakeError> {
        // Head and index allow no name or number that a header cannot hold.
        let header = tar::header(name, length, self.mtime).ok_or_else(|| {
            MakeError::Refused(Refusal::BadArchive { part: ArchivePart::Header(name.into()), offset: 0 })
        })?;
        self.write(&header)
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<(), MakeError> {
        let length = bytes.len() as u64;
        self.header(name, length)?;
        self.write(bytes)?;
        self.zeros(tar::padding(length))
    }

    fn zeros(&mut self, count: u64) -> Result<(), MakeError> {
        io::copy(&mut io::repeat(0).take(count), self.output).map(drop).map_err(MakeError::Package)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), MakeError> {
        self.output.write_all(bytes).map_err(MakeError::Package)
    }
}
