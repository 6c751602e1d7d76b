//! What this BMC takes, apart from keys.

use alloc::string::String;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::head::{self, Head, MAX_TOTAL_LENGTH, SignedHead};
use crate::index::Index;
use crate::refusal::{Refusal, Surprise};

/// What this BMC takes, apart from keys (those are the [`Verifier`](crate::Verifier)'s).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name of this board; a package must be made for the same.
    pub machine: String,
    /// Names of which a package must carry at least one, if there are any here.
    pub compatible: Vec<String>,
    /// Lowest security version accepted.
    pub security_floor: u32,
    /// Most bytes of a package, end blocks included.
    pub max_total_length: u64,
    /// The firmware that the next two rules compare with; without it they refuse nothing.
    pub running: Option<Running>,
    /// What becomes of a package with the version that runs.
    pub same_version: Rule,
    /// What becomes of a package that is older than what runs, though not below the floor.
    pub downgrade: Rule,
    /// What was said of this one package before it came.
    pub expected: Expected,
}

/// What whoever opens a door may say of the package that will come there (docs/spec/ipmi.md, 2.2). It only ever refuses more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// It is not older than what runs, whatever [`Policy::downgrade`] says.
    pub not_older: bool,
    /// Its bytes, as its head says them.
    pub length: Option<u64>,
    /// SHA-256 of its head.
    pub head: Option<Digest>,
}

impl Expected {
    /// Nothing was said.
    pub const ANYTHING: Self = Self { not_older: false, length: None, head: None };

    /// Whether only a package with a head can be meant.
    #[must_use]
    pub const fn has_head(&self) -> bool {
        self.length.is_some() || self.head.is_some()
    }

    /// Looks at the head before anything in it is read.
    ///
    /// # Errors
    /// [`Refusal::Unexpected`].
    pub fn check_digest(&self, head: &SignedHead) -> Result<(), Refusal> {
        let Some(expected) = self.head else { return Ok(()) };
        let found = head::digest(head);
        if found == expected { Ok(()) } else { Err(Surprise::Head { expected, found }.into()) }
    }

    fn check_length(&self, found: u64) -> Result<(), Refusal> {
        match self.length {
            Some(expected) if expected != found => Err(Surprise::Length { expected, found }.into()),
            Some(_) | None => Ok(()),
        }
    }
}

/// What becomes of a package that a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// It is taken.
    #[default]
    Accept,
    /// It is refused.
    Refuse,
}

/// The firmware that runs, as far as versions go (docs/decisions/0009-versions.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its version, for people; empty if it is not known, and then no package's version is the same.
    pub version: String,
    /// Its security version.
    pub security_version: u32,
    /// Its bcdDevice.
    pub bcd_device: u16,
}

impl Running {
    /// Whether a package has the version that runs: the same text.
    #[must_use]
    pub fn is_same(&self, index: &Index) -> bool {
        self.version == index.version
    }

    /// Whether a package is older than what runs: by its security version, and among equals by bcdDevice. Version texts
    /// have no order.
    #[must_use]
    pub fn is_newer_than(&self, index: &Index) -> bool {
        // BCD digits stand in the order of their weight, so the numbers compare as what they are read as.
        (self.security_version, self.bcd_device) > (index.security_version, index.bcd_device)
    }

    /// The refusal of a package that has the version that runs.
    #[must_use]
    pub fn same_version(&self) -> Refusal {
        Refusal::SameVersion { version: self.version.clone() }
    }

    /// The refusal of a package that is older than what runs.
    #[must_use]
    pub fn downgrade(&self, index: &Index) -> Refusal {
        Refusal::Downgrade {
            running: (self.security_version, self.bcd_device),
            found: (index.security_version, index.bcd_device),
        }
    }
}

impl Policy {
    /// Takes any package for this board, as far as the format goes.
    #[must_use]
    pub const fn for_machine(machine: String) -> Self {
        Self {
            machine,
            compatible: Vec::new(),
            security_floor: 0,
            max_total_length: MAX_TOTAL_LENGTH,
            running: None,
            same_version: Rule::Accept,
            downgrade: Rule::Accept,
            expected: Expected::ANYTHING,
        }
    }

    /// What can be decided from the head alone. The head is not authentic yet: only refusing is safe.
    ///
    /// # Errors
    /// [`Refusal::WrongMachine`], [`Refusal::Unexpected`], [`Refusal::TooLarge`]: the first of these, in this order.
    pub fn check_head(&self, head: &Head) -> Result<(), Refusal> {
        if head.machine != self.machine {
            return Err(Refusal::WrongMachine {
                expected: self.machine.clone(),
                found: head.machine.clone(),
            });
        }
        self.expected.check_length(head.total_length)?;
        if head.total_length > self.max_total_length {
            return Err(Refusal::TooLarge {
                member: None,
                length: head.total_length,
                limit: self.max_total_length,
            });
        }
        Ok(())
    }

    /// What the authentic index decides.
    ///
    /// # Errors
    /// [`Refusal::Incompatible`], [`Refusal::OldSecurityVersion`], [`Refusal::SameVersion`], [`Refusal::Downgrade`]: the
    /// first of these, in this order.
    pub fn check_index(&self, index: &Index) -> Result<(), Refusal> {
        if !self.compatible.is_empty() && !self.compatible.iter().any(|name| index.compatible.contains(name))
        {
            return Err(Refusal::Incompatible { expected: self.compatible.clone() });
        }
        if index.security_version < self.security_floor {
            return Err(Refusal::OldSecurityVersion {
                floor: self.security_floor,
                found: index.security_version,
            });
        }
        let Some(running) = &self.running else { return Ok(()) };
        if self.same_version == Rule::Refuse && running.is_same(index) {
            return Err(running.same_version());
        }
        let refuses_older = self.downgrade == Rule::Refuse || self.expected.not_older;
        if refuses_older && running.is_newer_than(index) {
            return Err(running.downgrade(index));
        }
        Ok(())
    }
}
