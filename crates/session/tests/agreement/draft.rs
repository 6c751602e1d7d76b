//! Packages as docs/spec/package.md has them, written without our own writer: that one refuses to write what
//! is wrong.

use inband_package::digest::sha256;

use crate::keys::Signer;

/// A package before it is bytes. Every field can be wrong.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) mtime: u64,
    pub(crate) machine: Vec<u8>,
    pub(crate) signers: Vec<Signer>,
    pub(crate) index_machine: Vec<u8>,
    pub(crate) compatible: Vec<Vec<u8>>,
    pub(crate) version: Vec<u8>,
    pub(crate) security_version: u32,
    pub(crate) bcd_device: u16,
    pub(crate) targets: Vec<Vec<u8>>,
    pub(crate) members: Vec<Member>,
}

#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) target: u8,
    /// What the index says instead of the sum of the chunks' lengths.
    pub(crate) length: Option<u64>,
    /// What the index says instead of the number of chunks.
    pub(crate) count: Option<u32>,
    /// What stands before the name in the archive instead of what belongs there.
    pub(crate) prefix: Option<&'static [u8]>,
    pub(crate) chunks: Vec<Chunk>,
}

#[derive(Clone)]
pub(crate) struct Chunk {
    pub(crate) encoding: u8,
    pub(crate) length: u32,
    pub(crate) digest: [u8; 32],
    pub(crate) sent_length: u32,
    pub(crate) sent_digest: [u8; 32],
    /// What stands in the archive.
    pub(crate) sent: Vec<u8>,
}

impl Chunk {
    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        let (length, digest) = (bytes.len() as u32, sha256(&bytes));
        Self { encoding: 0, length, digest, sent_length: length, sent_digest: digest, sent: bytes }
    }

    pub(crate) fn zstd(content: &[u8], frame: Vec<u8>) -> Self {
        Self {
            encoding: 1,
            length: content.len() as u32,
            digest: sha256(content),
            sent_length: frame.len() as u32,
            sent_digest: sha256(&frame),
            sent: frame,
        }
    }
}

impl Member {
    pub(crate) fn new(name: &str, kind: u8, chunks: Vec<Chunk>) -> Self {
        let name = name.as_bytes().to_vec();
        Self { name, kind, target: 0, length: None, count: None, prefix: None, chunks }
    }

    fn archive_name(&self) -> Vec<u8> {
        let encoded = self.chunks.iter().any(|chunk| chunk.encoding == 1);
        let usual: &[u8] = if encoded { b"inband.chunks/" } else { b"" };
        [self.prefix.unwrap_or(usual), &self.name].concat()
    }
}

/// A *str*; of one that is too long its length byte says less.
fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    out.push(text.len() as u8);
    out.extend(text);
}

impl Draft {
    pub(crate) fn index(&self) -> Vec<u8> {
        let mut out = b"INBANDIX\x01\x00\x00\x00".to_vec();
        put_str(&mut out, &self.index_machine);
        out.push(self.compatible.len() as u8);
        self.compatible.iter().for_each(|name| put_str(&mut out, name));
        put_str(&mut out, &self.version);
        out.extend(self.security_version.to_le_bytes());
        out.extend(self.bcd_device.to_le_bytes());
        out.push(self.targets.len() as u8);
        self.targets.iter().for_each(|name| put_str(&mut out, name));
        out.extend((self.members.len() as u16).to_le_bytes());
        for member in &self.members {
            put_str(&mut out, &member.name);
            out.extend([member.kind, member.target]);
            let sum = member.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
            out.extend(member.length.unwrap_or(sum).to_le_bytes());
            out.extend(member.count.unwrap_or(member.chunks.len() as u32).to_le_bytes());
            for chunk in &member.chunks {
                out.push(chunk.encoding);
                out.extend(chunk.length.to_le_bytes());
                out.extend(chunk.digest);
                if chunk.encoding == 1 {
                    out.extend(chunk.sent_length.to_le_bytes());
                    out.extend(chunk.sent_digest);
                }
            }
        }
        out
    }

    pub(crate) fn head(&self, index: &[u8]) -> [u8; 512] {
        let mut head = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            let room = 512 - at;
            head[at..at + bytes.len().min(room)].copy_from_slice(&bytes[..bytes.len().min(room)]);
        };
        put(0, b"INBANDFW\x01\x00\x00\x00");
        put(12, &(index.len() as u32).to_le_bytes());
        put(16, &self.total(index.len()).to_le_bytes());
        put(24, &self.mtime.to_le_bytes());
        put(32, &sha256(index));
        put(64, &[self.signers.len() as u8]);
        for (at, signer) in (72..232).step_by(40).zip(&self.signers) {
            let entry = signer.entry();
            put(at, &[entry.scheme.kind().number(), entry.scheme.number()]);
            put(at + 2, &entry.length.to_le_bytes());
            put(at + 8, &entry.key_id);
        }
        put(232, &[self.machine.len() as u8]);
        put(233, &self.machine);
        head
    }

    /// The bare signatures of `head`, in order.
    pub(crate) fn signatures(&self, head: &[u8; 512]) -> Vec<Vec<u8>> {
        self.signers.iter().map(|signer| signer.sign(head)).collect()
    }

    fn total(&self, index: usize) -> u64 {
        let signatures = self.signers.iter().map(|signer| usize::from(signer.entry().length));
        let members =
            self.members.iter().map(|member| member.chunks.iter().map(|chunk| chunk.sent.len()).sum());
        let lengths = [512, index].into_iter().chain(signatures).chain(members);
        lengths.map(|length| 512 + length.next_multiple_of(512)).sum::<usize>() as u64 + 1024
    }

    /// The whole archive from its parts.
    pub(crate) fn archive(&self, head: &[u8; 512], signatures: &[Vec<u8>], index: &[u8]) -> Archive {
        let mut archive = Archive::default();
        archive.member(b"inband.head", self.mtime, &[head]);
        for (signer, signature) in self.signers.iter().zip(signatures) {
            let name = signer.entry().kind().member_name();
            archive.member(name.as_bytes(), self.mtime, &[signature]);
        }
        archive.member(b"inband.index", self.mtime, &[index]);
        for member in &self.members {
            let sent: Vec<&[u8]> = member.chunks.iter().map(|chunk| chunk.sent.as_slice()).collect();
            archive.member(&member.archive_name(), self.mtime, &sent);
        }
        archive.zone(Zone::End, &[0; 1024]);
        archive
    }
}

/// What a part of an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    Header,
    Content,
    Padding,
    End,
}

/// The bytes, and which of them are what.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    pub(crate) zones: Vec<(Zone, core::ops::Range<usize>)>,
}

impl Archive {
    fn zone(&mut self, zone: Zone, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        self.zones.push((zone, start..self.bytes.len()));
    }

    /// A header, each piece of content, and what fills the last block.
    fn member(&mut self, name: &[u8], mtime: u64, content: &[&[u8]]) {
        let length: usize = content.iter().map(|piece| piece.len()).sum();
        self.zone(Zone::Header, &tar_header(name, length as u64, mtime));
        for piece in content {
            self.zone(Zone::Content, piece);
        }
        self.zone(Zone::Padding, &[0; 512][..length.next_multiple_of(512) - length]);
    }
}

/// The header of docs/spec/package.md, 2; what does not fit into it is cut.
fn tar_header(name: &[u8], size: u64, mtime: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(100)]);
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{:011o}", size & 0o77_777_777_777).as_bytes());
    put(136, format!("{:011o}", mtime & 0o77_777_777_777).as_bytes());
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\x00");
    mend_checksum(&mut header);
    header
}

/// Writes the checksum that these fields have.
pub(crate) fn mend_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
