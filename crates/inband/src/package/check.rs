//! Checks a package file as a BMC would, streaming: the file is never in memory as a whole.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use inband_package::{
    Head, Policy, Refusal, Verifier,
    head::{self, SignedHead},
    maker::{self, MakeError, Verified},
    tar,
};
use inband_session::ResultCode;

use super::{keys::PublicKeys, signatures};
use crate::{cancel::Cancel, error::Error};

/// What the package has to be, besides well-formed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demands<'a> {
    /// Keys whose signatures count; without keys signatures are not verified.
    pub keys: Option<&'a PublicKeys>,
    /// The board it has to be for.
    pub machine: Option<&'a str>,
}

/// Reads all of a package and checks every byte.
///
/// # Errors
/// [`Error::BadPackage`] with the result a BMC would give; [`Error::File`]; [`Error::Cancelled`].
pub fn check(path: &Path, demands: Demands<'_>, cancel: &Cancel) -> Result<Verified, Error> {
    let failed = |action| move |source| Error::File { path: path.to_owned(), action, source };
    let mut file = File::open(path).map_err(failed("open"))?;
    let machine = match demands.machine {
        Some(machine) => machine.to_owned(),
        // The policy wants a board, and any will do as long as the whole package says the same.
        None => claimed_machine(&mut file).map_err(failed("read"))?,
    };
    let policy = Policy::for_machine(machine);
    let mut reader = Cancellable { file, cancel };
    maker::verify(&mut reader, &Signatures(demands.keys), policy).map_err(|error| match error {
        _ if cancel.is_requested() => Error::Cancelled,
        MakeError::Refused(refusal @ Refusal::BadSignature { .. }) => unsigned(path, &refusal),
        other => make_error(path, other),
    })
}

/// A signature that does not verify. It may be none at all: then it helps to know whose is missing.
fn unsigned(path: &Path, refusal: &Refusal) -> Error {
    let missing = File::open(path).ok().and_then(|mut file| maker::missing(&mut file).ok());
    match missing.filter(|missing| !missing.is_empty()) {
        Some(missing) => Error::BadPackage {
            path: path.to_owned(),
            code: ResultCode::from(refusal),
            reason: format!("not signed yet: {} missing", signatures::listed(&missing)),
        },
        None => refused(path, refusal),
    }
}

/// What went wrong with a package, in the words of this program.
pub fn make_error(path: &Path, error: MakeError) -> Error {
    match error {
        MakeError::Refused(refusal) => refused(path, &refusal),
        MakeError::Package(source) => Error::File { path: path.to_owned(), action: "read or write", source },
        MakeError::Input { name, source } => Error::File { path: name.into(), action: "read", source },
        MakeError::Key(error) => Error::Key { path: path.to_owned(), reason: error.to_string() },
        MakeError::NotASigner { .. } | MakeError::WrongSignature { .. } => {
            Error::Signer { path: path.to_owned(), reason: error.to_string() }
        }
        MakeError::Changed { .. } | MakeError::Compression(_) | MakeError::Head(_) | MakeError::Index(_) => {
            Error::Pack(error.to_string())
        }
    }
}

/// A package that a BMC would refuse.
pub fn refused(path: &Path, refusal: &Refusal) -> Error {
    Error::BadPackage { path: path.to_owned(), code: ResultCode::from(refusal), reason: refusal.to_string() }
}

/// The machine a head claims to be for, or nothing; the file stands at its beginning again.
fn claimed_machine(file: &mut File) -> io::Result<String> {
    // The head is the first member: a tar header, then the head itself (docs/spec/package.md, 1).
    let mut start = Vec::with_capacity(tar::BLOCK + head::LENGTH);
    file.take((tar::BLOCK + head::LENGTH) as u64).read_to_end(&mut start)?;
    file.rewind()?;
    let head = start.get(tar::BLOCK..).and_then(|bytes| bytes.first_chunk());
    Ok(head
        .and_then(|bytes: &SignedHead| Head::parse(bytes).ok())
        .map_or_else(String::new, |head| head.machine))
}

/// Verifies signatures where there are keys, and takes any where there are none.
struct Signatures<'a>(Option<&'a PublicKeys>);

impl Verifier for Signatures<'_> {
    fn accepts(&self, head: &Head) -> Result<(), Refusal> {
        self.0.map_or(Ok(()), |keys| keys.accepts(head))
    }

    fn verify(&self, head: &Head, bytes: &SignedHead, signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        self.0.map_or(Ok(()), |keys| keys.verify(head, bytes, signatures))
    }
}

/// A file that ends in an error when the user wants to stop.
struct Cancellable<'a> {
    file: File,
    cancel: &'a Cancel,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_requested() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

impl Seek for Cancellable<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}
