//! What can go wrong while making a package.

use std::io;
use std::string::String;

use crate::digest::Hex;
use crate::head::HeadError;
use crate::index::IndexError;
use crate::key::{KeyError, KeyId};
use crate::refusal::Refusal;
use crate::signature::{Kind, Scheme};

/// What went wrong while making or checking a package.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A member's file cannot be read.
    #[error("cannot read {name}")]
    Input {
        /// The member or file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The package cannot be read or written.
    #[error("cannot read or write the package")]
    Package(#[source] io::Error),
    /// A member's file was not the same when it was copied as when it was hashed.
    #[error("{name} changed while it was being packed")]
    Changed {
        /// The member.
        name: String,
    },
    /// The options do not make a valid head.
    #[error("{0}")]
    Head(HeadError),
    /// The options or members do not make a valid index.
    #[error("{0}")]
    Index(IndexError),
    /// The package was not made for a signature of this key.
    #[error(
        "the package has no place for a {kind} signature by key {}; it was packed for other signers",
        Hex(id)
    )]
    NotASigner {
        /// Kind of the key.
        kind: Kind,
        /// The key.
        id: KeyId,
    },
    /// A signature that its key does not verify.
    #[error("this is no {scheme} signature of this package by key {}", Hex(id))]
    WrongSignature {
        /// The key.
        id: KeyId,
        /// How the package says it is to be signed.
        scheme: Scheme,
    },
    /// The compression's level is not one of Zstandard's, or it failed.
    #[error("cannot compress")]
    Compression(#[source] io::Error),
    /// A key cannot be used.
    #[error("{0}")]
    Key(KeyError),
    /// The package is not as it must be.
    #[error("{0}")]
    Refused(Refusal),
}

impl From<Refusal> for MakeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
