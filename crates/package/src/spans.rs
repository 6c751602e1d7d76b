//! Where things stand in the file of a package: for who sends parts of it (docs/spec/bulk.md, 3.2 and 3.5).

use alloc::vec::Vec;

use crate::{Head, Index, head, tar};

/// Bytes of a package in front of its first member's tar header: head, signatures and index, with their headers and padding.
/// At most 560,640.
#[must_use]
pub fn beginning(head: &Head) -> u64 {
    let signatures = head.signatures.iter().map(|entry| u64::from(entry.length));
    let parts = [head::LENGTH as u64, u64::from(head.index_length)].into_iter().chain(signatures);
    // None of them is longer than 512 KiB.
    parts.filter_map(tar::span).sum()
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub length: u32,
}

/// Where the chunks stand, as they are sent, in the order of their numbers: from 0, across all members of the index. `None` for an index
/// whose package has no end that a u64 can hold, which no head goes with.
#[must_use]
pub fn chunks(head: &Head, index: &Index) -> Option<Vec<Span>> {
    let mut spans = Vec::new();
    let mut member_at = beginning(head);
    for member in &index.members {
        let mut offset = member_at.checked_add(tar::BLOCK_LENGTH)?;
        for chunk in &member.chunks {
            let length = chunk.sent().length;
            spans.push(Span { offset, length });
            offset = offset.checked_add(length.into())?;
        }
        member_at = member_at.checked_add(tar::span(member.sent_length())?)?;
    }
    Some(spans)
}
