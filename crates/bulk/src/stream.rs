//! Cuts a stream of units into messages, however it was cut into transfers.

use crate::wire::{HEADER_LENGTH, Header, UNIT};

/// Where in the stream the next byte stands.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In a header, of which so many bytes are there.
    Header([u8; HEADER_LENGTH], usize),
    /// In a body: bytes of it that have come, and that are left.
    Body { come: u32, left: u32 },
    /// In the zeros behind a body.
    Filling,
    /// In the rest of a unit that is dropped.
    Dropped,
}

/// What comes next in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A header; `None` if the unit does not begin with the magic. Unless [`Stream::drop_unit`] is called now, its body follows.
    Header(Option<Header>),
    /// Bytes of the body.
    Body {
        /// Offset in the body.
        offset: u32,
        /// At least one.
        bytes: &'a [u8],
    },
    /// The message, filling included, is over.
    End,
    /// A byte of the filling is not zero. The rest of the unit is dropped.
    BadFilling,
    /// A unit that was to be dropped is over.
    Dropped,
}

/// Reads a stream. Keeps no more of it than a part of a header.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    at: At,
    /// Bytes of the current unit that have come.
    unit: usize,
}

impl Stream {
    /// At the beginning of a unit.
    pub(crate) const fn new() -> Self {
        Self { at: At::Header([0; HEADER_LENGTH], 0), unit: 0 }
    }

    /// Bytes left of the current unit; of none, all of the next one.
    pub(crate) const fn unit_left(&self) -> usize {
        UNIT - self.unit
    }

    /// Whether no unit has begun.
    pub(crate) const fn is_between_units(&self) -> bool {
        self.unit == 0
    }

    /// The rest of the current unit, if one has begun, means nothing. The next one begins with a header.
    pub(crate) const fn drop_unit(&mut self) {
        self.at = if self.unit == 0 { At::Header([0; HEADER_LENGTH], 0) } else { At::Dropped };
    }

    /// Takes from the front of the input what comes next. `None` if that is not complete; all of the input is taken then.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Part<'a>> {
        match self.at {
            At::Header(mut header, have) => {
                let taken = self.take(input, HEADER_LENGTH - have);
                header[have..have + taken.len()].copy_from_slice(taken);
                let have = have + taken.len();
                if have < HEADER_LENGTH {
                    self.at = At::Header(header, have);
                    return None;
                }
                let header = Header::parse(&header);
                self.at = match header {
                    Some(Header { length: 0, .. }) => At::Filling,
                    Some(Header { length, .. }) => At::Body { come: 0, left: length },
                    None => At::Dropped,
                };
                Some(Part::Header(header))
            }
            At::Body { come, left } => {
                let bytes = self.take(input, usize::try_from(left).unwrap_or(usize::MAX));
                if bytes.is_empty() {
                    return None;
                }
                // No longer than `left`.
                let length = bytes.len() as u32;
                self.at = if length < left {
                    At::Body { come: come + length, left: left - length }
                } else {
                    At::Filling
                };
                Some(Part::Body { offset: come, bytes })
            }
            // A message that ends with its unit has nothing to fill.
            At::Filling if self.unit == 0 => {
                self.at = At::Header([0; HEADER_LENGTH], 0);
                Some(Part::End)
            }
            At::Filling => {
                let taken = self.take(input, self.unit_left());
                if taken.iter().any(|byte| *byte != 0) {
                    self.drop_unit();
                    Some(Part::BadFilling)
                } else if self.unit == 0 {
                    self.next(input)
                } else {
                    None
                }
            }
            At::Dropped => {
                self.take(input, self.unit_left());
                if self.unit > 0 {
                    return None;
                }
                self.drop_unit();
                Some(Part::Dropped)
            }
        }
    }

    /// The next bytes of the input, at most so many.
    fn take<'a>(&mut self, input: &mut &'a [u8], most: usize) -> &'a [u8] {
        let (taken, rest) = input.split_at(most.min(input.len()));
        *input = rest;
        self.unit = (self.unit + taken.len()) % UNIT;
        taken
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::wire::{Kind, message};

    /// What a stream is, read in portions of these lengths, with bodies put together.
    fn read(stream: &[u8], portions: &[usize]) -> Vec<(Option<Header>, Vec<u8>)> {
        let mut reader = Stream::new();
        let mut messages = Vec::new();
        let (mut rest, mut turn) = (stream, 0);
        while !rest.is_empty() {
            let (portion, after) = rest.split_at(portions[turn % portions.len()].min(rest.len()));
            (rest, turn) = (after, turn + 1);
            let mut input = portion;
            while let Some(part) = reader.next(&mut input) {
                match part {
                    Part::Header(header) => messages.push((header, Vec::new())),
                    Part::Body { offset, bytes } => {
                        let body = &mut messages.last_mut().unwrap().1;
                        assert_eq!(body.len(), offset as usize);
                        body.extend_from_slice(bytes);
                    }
                    Part::End | Part::Dropped => assert_eq!(reader.unit, 0),
                    Part::BadFilling => messages.last_mut().unwrap().1.clear(),
                }
            }
            assert!(input.is_empty());
        }
        messages
    }

    #[test]
    fn lengths_around_a_unit() {
        for length in [0, 1, 491, 492, 493, 1003, 1004, 1005] {
            let body = vec![0xab; length];
            let one = message(Kind::Chunk, 9, 4, &body);
            assert_eq!(one.len(), (length + 20).div_ceil(512) * 512);
            let stream = [one.clone(), vec![1; 512], one].concat();
            let header = Header::new(Kind::Chunk, 9, 4, length as u32);
            let expected = vec![(Some(header), body.clone()), (None, Vec::new()), (Some(header), body)];
            for portions in [&[512][..], &[1], &[19, 1], &[20, 492], &[511, 2], &[usize::MAX]] {
                assert_eq!(read(&stream, portions), expected, "{length} in {portions:?}");
            }
        }
    }

    #[test]
    fn filling_is_zero() {
        let mut one = message(Kind::Chunk, 9, 4, b"hello");
        one[511] = 1;
        let good = message(Kind::Chunk, 9, 5, b"hello");
        let read = read(&[one, good].concat(), &[100]);
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].1.len(), read[1].1.as_slice()), (0, &b"hello"[..]));
    }
}
