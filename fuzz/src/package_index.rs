//! The index: any bytes are refused or are written back the same, and what is read is no larger than what was
//! there.

use inband_package::Index;
use inband_package::head::MAX_INDEX_LENGTH;

pub(crate) fn run(input: &[u8]) {
    if input.len() > MAX_INDEX_LENGTH as usize {
        return;
    }
    match Index::parse(input) {
        Ok(index) => {
            assert_eq!(index.encode().as_deref(), Ok(input));
            let chunks: usize = index.members.iter().map(|member| member.chunks.len()).sum();
            assert!(chunks * 37 < input.len());
            for member in &index.members {
                let last = member.chunks_with_offsets().last();
                let end = last.map_or(0, |(offset, chunk)| offset + u64::from(chunk.length));
                assert_eq!(end, member.length);
            }
            assert!(index.archive_length([64].into_iter(), input.len() as u32).is_some());
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}
