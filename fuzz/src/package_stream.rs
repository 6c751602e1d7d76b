//! The reader, with a verifier that accepts everything, so that what comes behind the signatures is reached.
//!
//! Input: how to cut the stream (1 byte), whether to mend it (1), then the stream. The machine is `m`.
//! Mending makes head and index agree (bit 0), so that changes of the index are not all caught by its digest, and
//! before that index and compressed chunks (bit 1), so that changes of these reach the decoder.

use std::sync::Arc;

use inband_package::digest::{Digest, sha256};
use inband_package::index::Encoding;
use inband_package::reader::Error;
use inband_package::{Checked, Head, Index, Policy, Progress, Reader, Refusal, Sink, Verifier, suffix, tar};

/// Any signature will do.
pub(crate) struct AcceptAll;

impl Verifier for AcceptAll {
    fn accepts(&self, _: &Head) -> Result<(), Refusal> {
        Ok(())
    }

    fn verify(&self, head: &Head, bytes: &[u8; 512], signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        assert_eq!(Head::parse(bytes).as_ref(), Ok(head));
        let lengths: Vec<_> = head.signatures.iter().map(|entry| usize::from(entry.length)).collect();
        assert_eq!(signatures.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
        Ok(())
    }
}

/// Checks what a sink is promised, and keeps the order of calls.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Checks {
    index: Option<Index>,
    calls: Vec<(usize, u64, usize)>,
    ended: bool,
}

/// This sink never stops the reading.
#[derive(Debug, PartialEq)]
pub(crate) enum Never {}

impl Sink for Checks {
    type Error = Never;

    fn begin(&mut self, head: &Head, _: &Digest, index: &Arc<Index>, bytes: &[u8]) -> Result<(), Never> {
        assert_eq!(self.index, None);
        assert_eq!(sha256(bytes), head.index_digest);
        assert_eq!(index.machine, "m");
        self.index = Some(Index::clone(index));
        Ok(())
    }

    fn chunk(&mut self, checked: &Checked<'_>) -> Result<(), Never> {
        let (member, offset, data) = (checked.member(), checked.offset(), checked.bytes());
        let index = self.index.as_ref().expect("begun before the first chunk");
        let (start, chunk) =
            index.members[member].chunks_with_offsets().nth(checked.number()).expect("a chunk of the index");
        assert_eq!((start, *checked.digest()), (offset, chunk.digest));
        assert_eq!((data.len(), sha256(data)), (chunk.length as usize, chunk.digest));
        assert!(!self.ended);
        self.calls.push((member, offset, data.len()));
        Ok(())
    }

    fn end(&mut self) -> Result<(), Never> {
        let index = self.index.as_ref().expect("begun before the end");
        let every = index.members.iter().enumerate().flat_map(|(number, member)| {
            member.chunks_with_offsets().map(move |(offset, chunk)| (number, offset, chunk.length as usize))
        });
        assert!(every.eq(self.calls.iter().copied()));
        assert!(!self.ended);
        self.ended = true;
        Ok(())
    }
}

pub(crate) fn run(input: &[u8]) {
    let Some((&[cut, mend], stream)) = input.split_first_chunk() else { return };
    let mut stream = stream.to_vec();
    if mend & 2 == 2 {
        mend_chunks(&mut stream);
    }
    if mend & 1 == 1 {
        mend_index(&mut stream);
    }
    let whole = read(Reader::new, &[&stream]);
    let size = usize::from(cut) * 7 + 1;
    assert_eq!(read(Reader::new, &stream.chunks(size).collect::<Vec<_>>()), whole);
    if !stream.last_chunk().is_some_and(suffix::could_be) {
        let (checks, _, verdict) = read(Reader::without_suffix, &[&stream]);
        assert_eq!((checks, verdict), (whole.0, whole.2));
    }
}

/// Reads `pieces` and gives the calls, the bytes taken and the verdict.
fn read(
    reader: fn(AcceptAll, Policy) -> Reader<AcceptAll>,
    pieces: &[&[u8]],
) -> (Checks, u64, Result<(), Refusal>) {
    let policy = Policy { security_floor: 1, max_total_length: 1 << 29, ..Policy::for_machine("m".into()) };
    let mut reader = reader(AcceptAll, policy);
    let mut checks = Checks::default();
    for piece in pieces {
        match reader.push(piece, &mut checks) {
            Ok(progress) => assert_eq!(progress == Progress::Complete, checks.ended),
            Err(Error::Refused(refusal)) => {
                assert!(!refusal.to_string().is_empty());
                assert_eq!(reader.push(piece, &mut checks), Err(Error::Failed));
                assert_eq!(reader.finish().as_ref(), Err(&refusal));
                return (checks, reader.received(), Err(refusal));
            }
            Err(Error::Sink(never)) => match never {},
            Err(Error::Failed) => panic!("failed before a refusal"),
        }
    }
    let verdict = reader.finish();
    (checks, reader.received(), verdict)
}

/// Where the index stands, as the head says; the head with it.
fn find_index(stream: &[u8]) -> Option<(Head, std::ops::Range<usize>)> {
    let head = Head::parse(stream.get(512..1024)?.first_chunk()?).ok()?;
    let signatures = head.signatures.iter().filter_map(|entry| tar::span(entry.length.into()));
    let start = 1024 + signatures.sum::<u64>() as usize + 512;
    let range = start..start.saturating_add(head.index_length as usize);
    stream.get(range.clone())?;
    Some((head, range))
}

/// Writes the digests of the compressed chunks that are there into the index.
fn mend_chunks(stream: &mut [u8]) {
    let Some((_, range)) = find_index(stream) else { return };
    let Ok(mut index) = Index::parse(&stream[range.clone()]) else { return };
    let mut at = range.end.next_multiple_of(512);
    for member in &mut index.members {
        let length = member.sent_length() as usize;
        at += 512;
        let mut from = at;
        for chunk in &mut member.chunks {
            let to = from.saturating_add(chunk.sent().length as usize);
            let Some(bytes) = stream.get(from..to) else { return };
            if let Encoding::Zstd(sent) = &mut chunk.encoding {
                sent.digest = sha256(bytes);
            }
            from = to;
        }
        at += length.next_multiple_of(512);
    }
    if let Ok(mended) = index.encode() {
        stream[range].copy_from_slice(&mended);
    }
}

/// Writes the digest of the index that is there, and the total length it adds up to, into the head.
fn mend_index(stream: &mut [u8]) {
    let Some((mut head, range)) = find_index(stream) else { return };
    let bytes = &stream[range];
    head.index_digest = sha256(bytes);
    if let Ok(index) = Index::parse(bytes) {
        let lengths = head.signatures.iter().map(|entry| entry.length);
        head.total_length = index.archive_length(lengths, head.index_length).unwrap_or(head.total_length);
    }
    if let Ok(mended) = head.encode() {
        stream[512..1024].copy_from_slice(&mended);
    }
}
