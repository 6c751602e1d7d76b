//! What may follow the two blocks of zeros that end a tar: zeros to the end of the record, and a DFU suffix.

use crate::suffix::Suffix;
use crate::tar::BLOCK_LENGTH;

/// Bytes of a record, which GNU tar fills with zeros.
const RECORD_LENGTH: u64 = 20 * BLOCK_LENGTH;

/// Takes what follows: nothing, or zeros to the end of the record; and behind either, nothing or a suffix. A suffix may
/// begin with zeros, so both readings are kept as long as both are possible.
#[derive(Debug)]
pub(super) struct Tail {
    /// Where the tar ends, in bytes.
    end: u64,
    /// Bytes taken.
    taken: u64,
    /// Reading: a suffix directly behind the end.
    short: Option<Suffix>,
    /// Reading: this many zeros still to come, then a suffix.
    long: Option<(u64, Suffix)>,
}

impl Tail {
    /// Behind a tar of `end` bytes, all of which `suffix` has seen.
    pub(super) fn new(end: u64, suffix: Suffix) -> Self {
        let zeros = end.next_multiple_of(RECORD_LENGTH) - end;
        Self { end, taken: 0, short: Some(suffix.clone()), long: Some((zeros, suffix)) }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// With the first byte that cannot stand there: the offset at which the tar has ended.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), u64> {
        for byte in bytes {
            let one = core::slice::from_ref(byte);
            self.short = self.short.take().and_then(|mut suffix| suffix.push(one).is_ok().then_some(suffix));
            self.long = self.long.take().and_then(|(zeros, mut suffix)| match (zeros, byte) {
                (0, _) => suffix.push(one).is_ok().then_some((0, suffix)),
                (_, 0) => {
                    suffix.archive(one);
                    Some((zeros - 1, suffix))
                }
                (_, _) => None,
            });
            if self.short.is_none() && self.long.is_none() {
                return Err(self.end);
            }
            self.taken += 1;
        }
        Ok(())
    }

    /// Whether the stream may end here.
    pub(super) const fn is_whole(&self) -> bool {
        let short = matches!(&self.short, Some(suffix) if suffix.finish().is_ok());
        let long = matches!(&self.long, Some((0, suffix)) if suffix.finish().is_ok());
        self.taken == 0 || short || long
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use inband_dfu::suffix as dfu;

    use super::*;

    /// What the bytes behind a tar of `end` zeros come to: whether the stream may end behind them.
    fn tail(end: usize, behind: &[u8]) -> Result<bool, u64> {
        let mut suffix = Suffix::new();
        suffix.archive(&vec![0; end]);
        let mut tail = Tail::new(end as u64, suffix);
        tail.push(behind)?;
        Ok(tail.is_whole())
    }

    /// `zeros` zeros and the suffix of the file that ends with them, which begins with zeros if `low`.
    fn with_suffix(end: usize, zeros: usize, low: bool) -> Vec<u8> {
        let id = if low { 0 } else { 0xFFFF };
        let suffix = dfu::Suffix { vendor: id, product: id, device: id };
        let mut crc = dfu::Crc32::new();
        crc.update(&vec![0; end + zeros]);
        let mut behind = vec![0; zeros];
        behind.extend_from_slice(&suffix.to_bytes(crc));
        behind
    }

    #[test]
    fn zeros_fill_the_record_or_are_not_there() {
        for (end, left) in [(1024, 9216), (10_240, 0), (10_752, 9728), (20_480, 0)] {
            for zeros in [0, 1, 16, 512, left / 2, left] {
                let whole = zeros == 0 || zeros == left;
                let expected = if zeros > left { continue } else { Ok(whole) };
                assert_eq!(tail(end, &vec![0; zeros]), expected, "{zeros} behind {end}");
            }
            assert!(tail(end, &vec![0; left + 16]).is_err(), "{end}");
            assert_eq!(tail(end, &[1; 16]), Err(end as u64));
        }
    }

    #[test]
    fn a_suffix_may_stand_behind_the_end_or_behind_the_record() {
        for low in [false, true] {
            for (end, zeros) in [(1024, 0), (1024, 9216), (10_240, 0), (9216, 1024)] {
                let behind = with_suffix(end, zeros, low);
                assert_eq!(tail(end, &behind), Ok(true));
                for cut in zeros + 1..behind.len() {
                    assert_ne!(tail(end, &behind[..cut]), Ok(true), "{cut}");
                }
                assert_eq!(tail(end, &[&behind[..], &[0]].concat()), Err(end as u64));
                let mut wrong = behind.clone();
                wrong[zeros + 13] ^= 1;
                assert_eq!(tail(end, &wrong), Err(end as u64));
            }
            assert_eq!(tail(1024, &with_suffix(1024, 512, low)), Err(1024));
        }
    }
}
