//! What this BMC takes, apart from keys.

use alloc::string::String;

use crate::head::Head;
use crate::index::Index;
use crate::refusal::Refusal;

/// What this BMC takes, apart from keys (those are the [`Verifier`](crate::Verifier)'s).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name of this board; a package must be made for the same.
    pub machine: String,
    /// Lowest security version accepted.
    pub security_floor: u32,
    /// Most bytes of a package, end blocks included.
    pub max_total_length: u64,
}

impl Policy {
    /// What can be decided from the head alone. The head is not authentic yet: only refusing is safe.
    ///
    /// # Errors
    /// [`Refusal::WrongMachine`] and [`Refusal::TooLarge`].
    pub fn check_head(&self, head: &Head) -> Result<(), Refusal> {
        if head.machine != self.machine {
            return Err(Refusal::WrongMachine {
                expected: self.machine.clone(),
                found: head.machine.clone(),
            });
        }
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
    /// [`Refusal::OldSecurityVersion`].
    pub fn check_index(&self, index: &Index) -> Result<(), Refusal> {
        if index.security_version < self.security_floor {
            return Err(Refusal::OldSecurityVersion {
                floor: self.security_floor,
                found: index.security_version,
            });
        }
        Ok(())
    }
}
